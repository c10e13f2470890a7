package api

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// Whoever may do nothing takes all the connections it gets; those who may
// read or act still get theirs.
func TestConnectionsAreLimitedByLevel(t *testing.T) {
	var level atomic.Int32 // of whoever connects next
	level.Store(int32(LevelNone))
	socket := serve(t, echo{}, Access{}, func(s *Server) { s.level = func(caller) Level { return Level(level.Load()) } })
	for range most {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	over, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer over.Close()
	if err := over.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := over.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("connection %d of one level: got %v, want it closed", most+1, err)
	}
	level.Store(int32(LevelAct))
	if _, err := NewClient(socket).Status(t.Context()); err != nil {
		t.Errorf("an operator is kept out: %v", err)
	}
}
