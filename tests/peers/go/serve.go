package main

// The server role.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Notes that were received so far, on all connections.
var notes int64

// Whether the numbered notes of one connection came as 1, 2, 3 and so on.
type noteOrder struct {
	lock     sync.Mutex
	last     int
	misplace int
}

func serve(port string) error {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return err
	}
	fmt.Printf("LISTEN %d\n", listener.Addr().(*net.TCPAddr).Port)
	go func() {
		// The end of standard input ends the program, so that it can't outlive who started it.
		var buffer [256]byte
		for {
			if _, err := os.Stdin.Read(buffer[:]); err != nil {
				os.Exit(0)
			}
		}
	}()
	handlers := map[string]handler{
		"echo":  echo,
		"upper": upper,
		"sleep": sleep,
		"fail":  fail,
		"greet": greet,
		"note":  note,
		"count": count,
		"big":   big,
	}
	for {
		stream, err := listener.Accept()
		if err != nil {
			return err
		}
		newConn(stream.(*net.TCPConn), handlers)
	}
}

func echo(_ context.Context, _ *conn, payload []byte) ([]byte, *remoteError) { return payload, nil }

func upper(_ context.Context, _ *conn, payload []byte) ([]byte, *remoteError) {
	return []byte(strings.ToUpper(string(payload))), nil
}

func sleep(ctx context.Context, _ *conn, payload []byte) ([]byte, *remoteError) {
	millis, failure := number(payload, 86_400_000)
	if failure != nil {
		return nil, failure
	}
	timer := time.NewTimer(time.Duration(millis) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return []byte(fmt.Sprintf("slept %d ms", millis)), nil
	case <-ctx.Done():
		return nil, &remoteError{code: "CANCELLED"}
	}
}

func fail(_ context.Context, _ *conn, payload []byte) ([]byte, *remoteError) {
	return nil, &remoteError{"NO_SUCH_LAMP", payload}
}

// Asks its caller for a name while the caller waits for the answer.
func greet(_ context.Context, c *conn, _ []byte) ([]byte, *remoteError) {
	name, err := c.call("name", nil)
	var remote *remoteError
	switch {
	case errors.As(err, &remote):
		return nil, remote
	case err != nil:
		return nil, &remoteError{"ERROR", []byte(err.Error())}
	}
	return append([]byte("hello, "), name...), nil
}

func note(_ context.Context, c *conn, payload []byte) ([]byte, *remoteError) {
	if n, err := strconv.Atoi(string(payload)); err == nil {
		c.notes.lock.Lock()
		if n != c.notes.last+1 {
			c.notes.misplace++
		}
		c.notes.last = n
		c.notes.lock.Unlock()
	}
	atomic.AddInt64(&notes, 1)
	return nil, nil
}

// How many notes came. Asked for "order" it adds how many numbered notes of this connection were out of order.
func count(_ context.Context, c *conn, payload []byte) ([]byte, *remoteError) {
	answer := strconv.FormatInt(atomic.LoadInt64(&notes), 10)
	if string(payload) == "order" {
		c.notes.lock.Lock()
		answer += " " + strconv.Itoa(c.notes.misplace)
		c.notes.lock.Unlock()
	}
	return []byte(answer), nil
}

func big(_ context.Context, _ *conn, payload []byte) ([]byte, *remoteError) {
	length, failure := number(payload, 1<<40)
	switch {
	case failure != nil:
		return nil, failure
	case length > maxPayload:
		return nil, &remoteError{code: "TOO_LARGE"}
	}
	return bytes.Repeat([]byte("abcdefghijklmnopqrstuvwxyz"), length/26+1)[:length], nil
}

func number(payload []byte, max int) (int, *remoteError) {
	n, err := strconv.Atoi(strings.TrimSpace(string(payload)))
	if err != nil || n < 0 || n > max {
		return 0, &remoteError{"BAD_PAYLOAD", []byte("the payload is a number, as text")}
	}
	return n, nil
}
