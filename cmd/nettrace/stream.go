package main

import "errors"

// runStream streams the changes of TCP sockets, or with --doctor says what of
// that works here.
func runStream(*env, *options) error {
	return errors.New("this build cannot stream; call the program by the name netstat to have -c repeat the view")
}
