package main

import "testing"

// TestOptionTable checks that the table is whole: each place in netstat's table
// is taken once, each letter is one option's, and each option has a key.
func TestOptionTable(t *testing.T) {
	table := optionTable(new(options))
	places, letters := make(map[int]string), make(map[string]bool)
	for _, o := range table {
		if o.Key() == "" {
			t.Errorf("an option has neither name nor letter: %+v", o)
		}
		if other := places[o.Place]; o.Place > 0 && other != "" {
			t.Errorf("--%s and --%s have place %d", other, o.Name, o.Place)
		}
		places[o.Place] = o.Name
		if o.Letter != "" && letters[o.Letter] {
			t.Errorf("-%s stands twice", o.Letter)
		}
		letters[o.Letter] = true
	}
	for place := 1; place < len(places); place++ {
		if places[place] == "" {
			t.Errorf("place %d is free", place)
		}
	}
}

func TestMeansNetns(t *testing.T) {
	for word, want := range map[string]bool{
		"--netns": true, "--netns=x": true, "--netn": true, "--netn=/run/netns/x": true,
		"--net": false, "--netrom": false, "--netnsx": false, "-netns": false, "netns": false, "--": false, "": false,
	} {
		if got := meansNetns(word); got != want {
			t.Errorf("%q: %v, want %v", word, got, want)
		}
	}
}
