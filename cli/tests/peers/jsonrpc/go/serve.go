package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

const connected = "200 Connected to Go RPC"

// Args are the two numbers of the package's own documentation.
type Args struct{ A, B int }

// Quotient is what Divide answers.
type Quotient struct{ Quo, Rem int }

// Arith is the service of the package's own documentation.
type Arith struct{}

// Multiply answers the product.
func (*Arith) Multiply(args *Args, reply *int) error {
	*reply = args.A * args.B
	return nil
}

// Divide answers the quotient and the remainder.
func (*Arith) Divide(args *Args, quo *Quotient) error {
	if args.B == 0 {
		return errors.New("divide by zero")
	}
	quo.Quo = args.A / args.B
	quo.Rem = args.A % args.B
	return nil
}

// Text is what the other peers offer without a service.
type Text struct{ notes int64 }

// Upper answers in upper case.
func (*Text) Upper(text string, reply *string) error {
	*reply = strings.ToUpper(text)
	return nil
}

// Echo answers the argument, whatever it is.
func (*Text) Echo(argument any, reply *any) error {
	*reply = argument
	return nil
}

// Sleep answers after so many milliseconds.
func (*Text) Sleep(ms int, reply *string) error {
	time.Sleep(time.Duration(ms) * time.Millisecond)
	*reply = fmt.Sprintf("slept %d ms", ms)
	return nil
}

// Fail fails with an error of its own.
func (*Text) Fail(_ string, _ *string) error {
	return &Error{Code: ownCode, Message: ownMessage}
}

// Note is for notifications.
func (t *Text) Note(_ string, reply *int64) error {
	*reply = atomic.AddInt64(&t.notes, 1)
	return nil
}

// Count tells how many notes came.
func (t *Text) Count(_ any, reply *int64) error {
	*reply = atomic.LoadInt64(&t.notes)
	return nil
}

// serve tells its port and answers until standard input ends.
func serve(kind string) error {
	server := rpc.NewServer()
	if err := server.Register(new(Arith)); err != nil {
		return err
	}
	if err := server.Register(new(Text)); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("LISTEN %d\n", listener.Addr().(*net.TCPAddr).Port)
	if kind == "connect" {
		mux := http.NewServeMux()
		mux.Handle(rpc.DefaultRPCPath, handler{server})
		go http.Serve(listener, mux)
	} else {
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go server.ServeCodec(jsonrpc.NewServerCodec(conn))
			}
		}()
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// handler is rpc.Server's ServeHTTP but for the codec: what came with the request is not looked at, so a client
// has to wait for the answer.
type handler struct{ server *rpc.Server }

func (h handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != "CONNECT" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusMethodNotAllowed)
		io.WriteString(w, "405 must CONNECT\n")
		return
	}
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	io.WriteString(conn, "HTTP/1.0 "+connected+"\n\n")
	h.server.ServeCodec(newServerCodec(conn))
}
