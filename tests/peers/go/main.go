// flyrpc-peer-go is a second implementation of FlyRPC, written from docs/protocol.md with Go's standard
// library alone, to test flyrpc against.
package main

import (
	"fmt"
	"os"
	"strings"
)

const usage = `usage: flyrpc-peer-go serve [PORT]
       flyrpc-peer-go client HOST:PORT [--skip CHECK,CHECK...]`

func main() {
	args := os.Args[1:]
	switch {
	case len(args) >= 1 && len(args) <= 2 && args[0] == "serve":
		port := "0"
		if len(args) == 2 {
			port = args[1]
		}
		if err := serve(port); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case len(args) == 2 && args[0] == "client":
		os.Exit(client(args[1], nil))
	case len(args) == 4 && args[0] == "client" && args[2] == "--skip":
		os.Exit(client(args[1], strings.FieldsFunc(args[3], func(r rune) bool { return r == ',' })))
	default:
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
}
