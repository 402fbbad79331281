package filter

import "reflect"

// Same reports whether two filters are the same expression, apart from the places of
// its words.
func Same(a, b *Filter) bool { return reflect.DeepEqual(bare(a.root), bare(b.root)) }

func bare(n *node) *node {
	if n == nil {
		return nil
	}
	copied := &node{kind: n.kind}
	for _, kid := range n.kids {
		copied.kids = append(copied.kids, bare(kid))
	}
	if n.pred != nil {
		q := *n.pred
		q.at, q.word = span{}, span{}
		q.values = nil
		for _, v := range n.pred.values {
			v.at = span{}
			if v.addr.port != nil {
				port := *v.addr.port
				port.at = span{}
				v.addr.port = &port
			}
			q.values = append(q.values, v)
		}
		copied.pred = &q
	}
	return copied
}
