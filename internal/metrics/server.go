package metrics

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// limits bound what a client can take of the process. One that says nothing, or little
// by little, is cut off; the others wait for a place meanwhile.
type limits struct {
	head        int           // bytes of a request's head
	connections int           // at a time
	asking      time.Duration // for the whole request
	answering   time.Duration // for the whole answer, and for making it
	leaving     time.Duration // for the client to close after the answer
}

var standardLimits = limits{
	head: 8 << 10, connections: 16,
	asking: 2 * time.Second, answering: 10 * time.Second, leaving: time.Second,
}

// acceptAgain is after how long the server tries again when it could not accept: the
// process has no descriptor left.
const acceptAgain = 100 * time.Millisecond

// server answers requests of HTTP, one each connection.
type server struct {
	listener net.Listener
	answer   func(request) answer
	limits   limits
	places   chan struct{} // one for each connection

	mu    sync.Mutex
	conns map[net.Conn]struct{} // open ones
	over  bool
}

func newServer(l net.Listener, answer func(request) answer, is limits) *server {
	return &server{
		listener: l, answer: answer, limits: is,
		places: make(chan struct{}, is.connections), conns: make(map[net.Conn]struct{}),
	}
}

// serve accepts connections until close is called.
func (s *server) serve() {
	for {
		s.places <- struct{}{}
		c, err := s.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			<-s.places
			time.Sleep(acceptAgain)
		case !s.add(c):
			_ = c.Close() // nothing was written
			return
		default:
			go s.handle(c)
		}
	}
}

// close ends the server and its connections.
func (s *server) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	for c := range s.conns {
		_ = c.Close() // the client sees that its answer is cut
	}
	return s.listener.Close()
}

// add keeps a connection, unless the server is closed.
func (s *server) add(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.conns[c] = struct{}{}
	}
	return !s.over
}

// handle answers the one request of a connection.
func (s *server) handle(c net.Conn) {
	defer func() {
		_ = c.Close() // what could be written was
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		<-s.places
	}()
	_ = c.SetReadDeadline(time.Now().Add(s.limits.asking)) // fails if it is closed: then all does
	a, asked := s.ask(c)
	if !asked {
		return
	}
	_ = c.SetWriteDeadline(time.Now().Add(s.limits.answering)) // likewise
	if _, err := c.Write(a.bytes()); err == nil {
		s.leave(c)
	}
}

// ask reads a request and returns the answer. asked is false if none came.
func (s *server) ask(c net.Conn) (a answer, asked bool) {
	head, err := readHead(c, s.limits.head)
	if errors.Is(err, errTooLarge) {
		return plain(statusTooLarge, "the request is too large"), true
	}
	if err != nil {
		return answer{}, false
	}
	r, ok := parseRequest(head)
	if !ok {
		return plain(statusBad, "this is no request of HTTP/1.1"), true
	}
	return s.answer(r), true
}

var errTooLarge = errors.New("the head of the request is too large")

// readHead reads the head of a request. What follows it may be read too.
func readHead(r io.Reader, most int) ([]byte, error) {
	buf := make([]byte, 0, most)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if end := headEnd(buf); end > 0 {
			return buf[:end], nil
		}
		if len(buf) == cap(buf) {
			return nil, errTooLarge
		}
		if err != nil {
			return nil, err
		}
	}
}

// mostAfter is how much a client may send besides the head of its request, and still
// get its answer for sure.
const mostAfter = 1 << 20

// leave waits until the client closes. Where it has sent more than a head, to close at
// once would reset the connection, and the answer could be lost.
func (s *server) leave(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(s.limits.leaving)) // fails if it is closed: then reading does
	_, _ = io.CopyN(io.Discard, c, mostAfter)               // the answer is out
}
