package output

import (
	"reflect"
	"testing"
	"unsafe"

	"github.com/nettrace/nettrace/tracer/table"
)

// TestCacheCompares changes each part of what cached members are made from, one after
// another: a part that is not compared would have one connection's members printed for
// another.
func TestCacheCompares(t *testing.T) {
	var c table.Conn
	id, h := identityOf(&c, device{}), holderOf(&c.Head, c.HasUID)
	if !id.of(&c, device{}) || !h.of(&c.Head, c.HasUID) {
		t.Fatal("what is made from a connection is not the connection's")
	}
	eachLeaf(reflect.ValueOf(&id).Elem(), "identity", func(name string) {
		if id.of(&c, device{}) {
			t.Errorf("%s is not compared", name)
		}
	})
	eachLeaf(reflect.ValueOf(&h).Elem(), "holder", func(name string) {
		if h.of(&c.Head, c.HasUID) {
			t.Errorf("%s is not compared", name)
		}
	})
}

// eachLeaf calls see once for each part of v that is no struct, with another value there.
func eachLeaf(v reflect.Value, name string, see func(name string)) {
	if v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			eachLeaf(v.Field(i), name+"."+v.Type().Field(i).Name, see)
		}
		return
	}
	v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem() // it may be set now
	before := reflect.ValueOf(v.Interface())
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Array:
		eachLeaf(v.Index(0), name, see)
		return
	default:
		v.Set(reflect.ValueOf(1).Convert(v.Type()))
	}
	see(name)
	v.Set(before)
}
