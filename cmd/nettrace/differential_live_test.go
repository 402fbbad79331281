package main

func liveScenes() []scene { return nil }
