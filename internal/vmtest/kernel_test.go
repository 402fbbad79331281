package main

import "testing"

func TestNewest(t *testing.T) {
	chosen, err := selectKernels("6.12,5.10")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{
		"linux-image-6.12.9+deb13-cloud-amd64-unsigned",
		"linux-image-6.12.117+deb13-cloud-amd64-unsigned",
		"linux-image-6.12.200+deb13-amd64-unsigned",
		"linux-image-6.12.201+deb13-cloud-amd64-dbg",
		".part-6.12.300",
	}
	if got, ok := chosen[0].newest(names); !ok || got != names[1] {
		t.Errorf("newest 6.12 = %q, %v; want %q", got, ok, names[1])
	}
	if got, ok := chosen[1].newest(names); ok {
		t.Errorf("newest 5.10 = %q, want none", got)
	}
}

func TestSelectKernelsUnknown(t *testing.T) {
	if got, err := selectKernels("6.1,2.4"); err == nil {
		t.Errorf("got %v, want an error for 2.4", got)
	}
}
