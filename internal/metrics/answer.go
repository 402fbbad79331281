package metrics

import "strconv"

// answer is what a request gets.
type answer struct {
	status string
	kind   string // of the body
	body   []byte
	bare   bool // HEAD: the body is not sent
}

// plain is an answer of one line.
func plain(status, line string) answer {
	return answer{status: status, kind: "text/plain; charset=utf-8", body: []byte(line + "\n")}
}

// answer answers a request.
func (m *Metrics) answer(r request) answer {
	if r.method != "GET" && r.method != "HEAD" {
		return plain(statusMethod, "only GET and HEAD are answered")
	}
	var a answer
	switch r.path {
	case "/metrics":
		a = m.scraped()
	case "/healthz":
		a = m.health()
	default:
		a = plain(statusNotFound, "there are /metrics and /healthz")
	}
	a.bare = r.method == "HEAD"
	return a
}

func (m *Metrics) scraped() answer {
	if m.stage.Load() == opening {
		return plain(statusUnavailable, "the stream has not started yet")
	}
	return answer{status: statusOK, kind: "text/plain; version=0.0.4; charset=utf-8", body: m.exposition()}
}

func (m *Metrics) health() answer {
	if why := m.sick(); why != "" {
		return plain(statusUnavailable, why)
	}
	return plain(statusOK, "ok")
}

// bytes returns the answer as it is sent. Each connection has one.
func (a *answer) bytes() []byte {
	b := append([]byte("HTTP/1.1 "), a.status...)
	b = append(b, "\r\nContent-Type: "...)
	b = append(b, a.kind...)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(a.body)), 10)
	if a.status == statusMethod {
		b = append(b, "\r\nAllow: GET, HEAD"...)
	}
	b = append(b, "\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"...)
	if a.bare {
		return b
	}
	return append(b, a.body...)
}
