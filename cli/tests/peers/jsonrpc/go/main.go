// flyrpc-peer-go-jsonrpc is a JSON-RPC peer on Go's net/rpc, with Go's standard library alone.
//
// "connect" is net/rpc over HTTP CONNECT, as rpc.DialHTTP and rpc.HandleHTTP do it, with a JSON-RPC 2.0 codec in
// the place of gob; "one" is net/rpc/jsonrpc, which is JSON-RPC 1.0 over TCP.
package main

import (
	"fmt"
	"os"
)

const usage = `usage: flyrpc-peer-go-jsonrpc serve connect|one
       flyrpc-peer-go-jsonrpc call connect|one HOST:PORT`

func main() {
	args := os.Args[1:]
	switch {
	case len(args) == 2 && args[0] == "serve" && known(args[1]):
		if err := serve(args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case len(args) == 3 && args[0] == "call" && known(args[1]):
		os.Exit(call(args[1], args[2]))
	default:
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
}

func known(kind string) bool {
	return kind == "connect" || kind == "one"
}
