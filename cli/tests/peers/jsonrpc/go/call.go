package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/rpc"
	"net/rpc/jsonrpc"
	"strings"
	"time"
)

const (
	checkTime  = 20 * time.Second
	concurrent = 200

	ownCode             = 7
	ownMessage          = "NO_SUCH_LAMP"
	codeError           = -32001
	codeServiceNotFound = -32002
	codeInvalidParams   = -32602
)

type check struct {
	name string
	run  func(*rpc.Client) error
}

// call runs the checks in their order, each with a connection of its own, and prints a line for each.
func call(kind, address string) int {
	dial := dialConnect
	checks := append(common(true), check{"own-error", ownError}, check{"connect-with-crlf", withCRLF(address)},
		check{"get-is-refused", getIsRefused(address)}, check{"wrong-path", wrongPath(address)})
	if kind == "one" {
		dial = func(address string) (*rpc.Client, error) { return jsonrpc.Dial("tcp", address) }
		checks = append(common(false), check{"own-error-as-text", ownErrorAsText})
	}
	failed := 0
	for _, check := range checks {
		if err := run(check, dial, address); err != nil {
			failed++
			fmt.Printf("FAIL %s: %v\n", check.name, err)
		} else {
			fmt.Printf("ok %s\n", check.name)
		}
	}
	fmt.Printf("done %d ok %d failed\n", len(checks)-failed, failed)
	if failed > 0 {
		return 1
	}
	return 0
}

func run(check check, dial func(string) (*rpc.Client, error), address string) error {
	client, err := dial(address)
	if err != nil {
		return err
	}
	defer client.Close()
	done := make(chan error, 1)
	go func() { done <- check.run(client) }()
	select {
	case err := <-done:
		return err
	case <-time.After(checkTime):
		return errors.New("not done in time")
	}
}

// dialConnect is rpc.DialHTTP but for the codec.
func dialConnect(address string) (*rpc.Client, error) {
	return dialWith(address, "CONNECT "+rpc.DefaultRPCPath+" HTTP/1.0\n\n")
}

func dialWith(address, head string) (*rpc.Client, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, head); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: "CONNECT"})
	if err == nil && response.Status == connected {
		return rpc.NewClientWithCodec(newClientCodec(conn)), nil
	}
	conn.Close()
	if err == nil {
		err = errors.New("unexpected HTTP response: " + response.Status)
	}
	return nil, err
}

// common are the checks of both versions; only the second has codes.
func common(codes bool) []check {
	code := func(code int) int {
		if codes {
			return code
		}
		return 0
	}
	return []check{
		{"multiply", func(c *rpc.Client) error {
			var product int
			err := c.Call("Arith.Multiply", Args{7, -8}, &product)
			return same(err, product, -56)
		}},
		{"divide", func(c *rpc.Client) error {
			var quotient Quotient
			err := c.Call("Arith.Divide", Args{17, 5}, &quotient)
			return same(err, quotient, Quotient{3, 2})
		}},
		{"divide-by-zero", func(c *rpc.Client) error {
			return fails(c.Call("Arith.Divide", Args{1, 0}, nil), code(codeError), "divide by zero")
		}},
		{"after-an-error", func(c *rpc.Client) error {
			if err := c.Call("Arith.Divide", Args{1, 0}, nil); err == nil {
				return errors.New("no error")
			}
			var product int
			err := c.Call("Arith.Multiply", Args{6, 7}, &product)
			return same(err, product, 42)
		}},
		{"upper", func(c *rpc.Client) error {
			var upper string
			err := c.Call("upper", "dämmerung", &upper)
			return same(err, upper, "DÄMMERUNG")
		}},
		{"escapes", func(c *rpc.Client) error {
			// Go writes < > & and U+2028 as \u escapes.
			var upper string
			err := c.Call("upper", "<a> & \u2028\"\\", &upper)
			return same(err, upper, "<A> & \u2028\"\\")
		}},
		{"method-not-found", func(c *rpc.Client) error {
			return fails(c.Call("Arith.Nothing", Args{}, nil), code(codeMethodNotFound), "Method not found")
		}},
		{"service-not-found", func(c *rpc.Client) error {
			return fails(c.Call("Nobody.Home", Args{}, nil), code(codeServiceNotFound), "Service not found")
		}},
		{"invalid-params", func(c *rpc.Client) error {
			return fails(c.Call("Arith.Multiply", map[string]string{"A": "seven"}, nil), code(codeInvalidParams), "")
		}},
		{"asynchronous", asynchronous},
		{"out-of-order", outOfOrder},
		{"big", func(c *rpc.Client) error {
			var text string
			err := c.Call("big", 1<<20, &text)
			return same(err, len(text), 1<<20)
		}},
	}
}

func asynchronous(c *rpc.Client) error {
	done := make(chan *rpc.Call, concurrent)
	products := make([]int, concurrent)
	for i := range products {
		c.Go("Arith.Multiply", Args{i, i}, &products[i], done)
	}
	for range products {
		if call := <-done; call.Error != nil {
			return call.Error
		}
	}
	for i, product := range products {
		if err := same(nil, product, i*i); err != nil {
			return err
		}
	}
	return nil
}

func outOfOrder(c *rpc.Client) error {
	slow := c.Go("sleep", 300, new(any), nil)
	var product int
	if err := c.Call("Arith.Multiply", Args{2, 3}, &product); err != nil {
		return err
	}
	select {
	case <-slow.Done:
		return errors.New("the slow call was not slower")
	default:
		return (<-slow.Done).Error
	}
}

func ownError(c *rpc.Client) error {
	return fails(c.Call("fail", "9 of 8", nil), ownCode, ownMessage)
}

func ownErrorAsText(c *rpc.Client) error {
	return fails(c.Call("fail", "9 of 8", nil), 0, ownMessage)
}

// withCRLF is how other HTTP clients than Go's write it.
func withCRLF(address string) func(*rpc.Client) error {
	return func(*rpc.Client) error {
		head := "CONNECT " + rpc.DefaultRPCPath + " HTTP/1.1\r\nHost: " + address + "\r\n\r\n"
		client, err := dialWith(address, head)
		if err != nil {
			return err
		}
		defer client.Close()
		var product int
		err = client.Call("Arith.Multiply", Args{2, 3}, &product)
		return same(err, product, 6)
	}
}

func getIsRefused(address string) func(*rpc.Client) error {
	return func(*rpc.Client) error {
		response, err := http.Get("http://" + address + rpc.DefaultRPCPath)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		got := fmt.Sprint(response.StatusCode, " ", strings.TrimSpace(string(body)))
		return same(err, got, "405 405 must CONNECT")
	}
}

func wrongPath(address string) func(*rpc.Client) error {
	return func(*rpc.Client) error {
		client, err := dialWith(address, "CONNECT /nowhere HTTP/1.0\n\n")
		if err == nil {
			client.Close()
			return errors.New("connected")
		}
		return nil
	}
}

func same[T comparable](err error, got, wanted T) error {
	if err == nil && got != wanted {
		err = fmt.Errorf("%.200q instead of %.200q", fmt.Sprint(got), fmt.Sprint(wanted))
	}
	return err
}

// fails holds the error against its code, unless that is 0, and its text.
func fails(err error, code int, message string) error {
	if err == nil {
		return errors.New("no error")
	}
	text := err.Error()
	if code != 0 {
		found, ok := asError(err)
		if !ok {
			return err
		}
		if found.Code != code {
			return fmt.Errorf("code %d instead of %d", found.Code, code)
		}
		text = found.Message
	} else if _, ok := err.(rpc.ServerError); !ok {
		return err
	}
	if !strings.Contains(text, message) {
		return fmt.Errorf("%q instead of %q", text, message)
	}
	return nil
}
