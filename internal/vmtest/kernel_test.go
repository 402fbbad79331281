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

// A kernel that is booted with a parameter runs the suites that name it.
func TestRunsOn(t *testing.T) {
	chosen, err := selectKernels("6.12,6.12-preempt")
	if err != nil {
		t.Fatal(err)
	}
	plain, preempt := chosen[0], chosen[1]
	if plain.series() != "6.12" || preempt.series() != "6.12" || preempt.params != "preempt=full" {
		t.Errorf("kernels %+v and %+v", plain, preempt)
	}
	for _, c := range []struct {
		suite    suite
		k        kernel
		filtered bool
		brief    bool
		want     bool
	}{
		{suite{}, plain, false, false, true},
		{suite{}, preempt, false, false, false},
		{suite{}, preempt, true, false, true},
		{suite{kernels: []string{"6.12"}}, preempt, true, false, false},
		{suite{kernels: []string{"6.12-preempt"}}, preempt, false, false, true},
		{suite{kernels: []string{"6.12-preempt"}}, plain, false, false, false},
		{suite{}, plain, false, true, true},
		{suite{brief: []string{"6.1"}}, plain, false, true, false},
		{suite{brief: []string{"6.1"}}, plain, false, false, true},
		{suite{kernels: []string{"6.1"}, brief: []string{}}, plain, false, true, false},
		{suite{kernels: []string{"6.1", "6.12"}, brief: []string{"6.12"}}, plain, false, true, true},
		{suite{kernels: []string{"6.1", "6.12"}, brief: []string{"6.12"}}, preempt, false, true, false},
	} {
		if got := c.suite.runsOn(c.k, c.filtered, c.brief); got != c.want {
			t.Errorf("%v (brief: %v) on %s, filtered %t, brief %t: %t", c.suite.kernels, c.suite.brief, c.k.name, c.filtered, c.brief, got)
		}
	}
}

func TestSelectKernelsUnknown(t *testing.T) {
	if got, err := selectKernels("6.1,2.4"); err == nil {
		t.Errorf("got %v, want an error for 2.4", got)
	}
}

// TestLongestFirst checks that a machine with one suite does not hold up those with many.
func TestLongestFirst(t *testing.T) {
	all, err := selectKernels(kernelNames())
	if err != nil {
		t.Fatal(err)
	}
	o := options{kernels: all, suites: suites, brief: true}
	o.longestFirst()
	for i := range o.kernels[1:] {
		if a, b := o.kernels[i], o.kernels[i+1]; len(o.suitesOn(a)) < len(o.suitesOn(b)) {
			t.Errorf("%s with %d suites comes before %s with %d", a.name, len(o.suitesOn(a)), b.name, len(o.suitesOn(b)))
		}
	}
	if last := o.kernels[len(o.kernels)-1]; last.params == "" {
		t.Errorf("%s, which runs most suites, comes last", last.name)
	}
}
