package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"strings"
	"sync"
)

// What the codec known as rpc-codec answers for the two kinds of error that net/rpc tells apart by text alone.
const (
	codeServer         = -32000
	codeMethodNotFound = -32601
)

// An Error is a JSON-RPC 2.0 error object. Through net/rpc, which knows only texts, it travels as JSON.
type Error struct {
	Code    int              `json:"code"`
	Message string           `json:"message"`
	Data    *json.RawMessage `json:"data,omitempty"`
}

func (e *Error) Error() string {
	text, err := json.Marshal(e)
	if err != nil {
		return e.Message
	}
	return string(text)
}

// asError reads the error back out of net/rpc's text.
func asError(err error) (*Error, bool) {
	var server rpc.ServerError
	found := new(Error)
	if !errors.As(err, &server) || json.Unmarshal([]byte(server), found) != nil {
		return nil, false
	}
	return found, true
}

// ---- client ----

type clientRequest struct {
	Version string          `json:"jsonrpc"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
	ID      uint64          `json:"id"`
}

type clientResponse struct {
	Version string          `json:"jsonrpc"`
	ID      *uint64         `json:"id"`
	Result  json.RawMessage `json:"result"`
	Error   *Error          `json:"error"`
}

type clientCodec struct {
	dec  *json.Decoder
	enc  *json.Encoder
	conn io.ReadWriteCloser
	last clientResponse
}

// newClientCodec speaks JSON-RPC 2.0. An argument that is no object or array becomes the only positional one.
func newClientCodec(conn io.ReadWriteCloser) rpc.ClientCodec {
	return &clientCodec{dec: json.NewDecoder(conn), enc: json.NewEncoder(conn), conn: conn}
}

func (c *clientCodec) WriteRequest(r *rpc.Request, argument any) error {
	params, err := json.Marshal(argument)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(params, []byte("{")) && !bytes.HasPrefix(params, []byte("[")) {
		params = append(append([]byte("["), params...), ']')
	}
	return c.enc.Encode(clientRequest{"2.0", r.ServiceMethod, params, r.Seq})
}

func (c *clientCodec) ReadResponseHeader(r *rpc.Response) error {
	c.last = clientResponse{}
	if err := c.dec.Decode(&c.last); err != nil {
		return err
	}
	switch {
	case c.last.Version != "2.0":
		return fmt.Errorf("jsonrpc is %q", c.last.Version)
	case c.last.ID == nil:
		return fmt.Errorf("an answer without an id: %v", c.last.Error)
	case (c.last.Result == nil) == (c.last.Error == nil):
		return errors.New("neither a result nor an error, or both")
	}
	r.Seq = *c.last.ID
	r.Error = ""
	if c.last.Error != nil {
		r.Error = c.last.Error.Error()
	}
	return nil
}

func (c *clientCodec) ReadResponseBody(result any) error {
	if result == nil {
		return nil
	}
	return json.Unmarshal(c.last.Result, result)
}

func (c *clientCodec) Close() error {
	return c.conn.Close()
}

// ---- server ----

type serverRequest struct {
	Version string           `json:"jsonrpc"`
	Method  string           `json:"method"`
	Params  *json.RawMessage `json:"params"`
	ID      *json.RawMessage `json:"id"`
}

type serverResponse struct {
	Version string           `json:"jsonrpc"`
	ID      *json.RawMessage `json:"id"`
	Result  any              `json:"result,omitempty"`
	Error   *Error           `json:"error,omitempty"`
}

type serverCodec struct {
	dec  *json.Decoder
	conn io.ReadWriteCloser
	last serverRequest

	mutex sync.Mutex
	enc   *json.Encoder
	seq   uint64
	ids   map[uint64]*json.RawMessage // nil for a notification
}

func newServerCodec(conn io.ReadWriteCloser) rpc.ServerCodec {
	return &serverCodec{
		dec: json.NewDecoder(conn), enc: json.NewEncoder(conn), conn: conn,
		ids: make(map[uint64]*json.RawMessage),
	}
}

func (c *serverCodec) ReadRequestHeader(r *rpc.Request) error {
	c.last = serverRequest{}
	if err := c.dec.Decode(&c.last); err != nil {
		return err
	}
	if c.last.Version != "2.0" {
		return fmt.Errorf("jsonrpc is %q", c.last.Version)
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.seq++
	c.ids[c.seq] = c.last.ID
	r.Seq = c.seq
	r.ServiceMethod = c.last.Method
	return nil
}

func (c *serverCodec) ReadRequestBody(argument any) error {
	if argument == nil || c.last.Params == nil {
		return nil
	}
	if bytes.HasPrefix(*c.last.Params, []byte("[")) {
		positional := [1]any{argument}
		return json.Unmarshal(*c.last.Params, &positional)
	}
	return json.Unmarshal(*c.last.Params, argument)
}

func (c *serverCodec) WriteResponse(r *rpc.Response, result any) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	id := c.ids[r.Seq]
	delete(c.ids, r.Seq)
	if id == nil {
		return nil
	}
	response := serverResponse{Version: "2.0", ID: id}
	if r.Error == "" {
		response.Result = result
		return c.enc.Encode(response)
	}
	response.Error = new(Error)
	if json.Unmarshal([]byte(r.Error), response.Error) != nil {
		*response.Error = Error{Code: codeServer, Message: r.Error}
		if strings.HasPrefix(r.Error, "rpc: can't find ") {
			response.Error.Code = codeMethodNotFound
		}
	}
	return c.enc.Encode(response)
}

func (c *serverCodec) Close() error {
	return c.conn.Close()
}
