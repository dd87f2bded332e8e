package main

// One connection, both ends alike: calls out, requests in.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

const (
	callTime      = 10 * time.Second // deadline of a call, and the time for answers owed at the end
	quarantine    = 60 * time.Second
	maxUnanswered = 1024
	maxInFlight   = 60_000
)

// An error that the peer sent, or that a handler gives.
type remoteError struct {
	code    string
	details []byte
}

func (e *remoteError) Error() string { return e.code }

// A handler's context ends when its request is cancelled or its connection is lost.
type handler func(ctx context.Context, c *conn, payload []byte) ([]byte, *remoteError)

type conn struct {
	tcp      *net.TCPConn
	handlers map[string]handler

	writing sync.Mutex // held while a packet is written (F8)

	lock    sync.Mutex // of all below
	last    uint16
	pending map[uint16]*call
	resting map[uint16]*call
	running map[uint16]context.CancelFunc
	ended   error // why there are no more calls
	peer    capabilities
	zip     bool // compress what is sent: switched on by hand, or because the peer did

	work     sync.WaitGroup
	messages chan packet
	notes    noteOrder
}

// A call in flight, given up, or over.
type call struct {
	c     *conn
	seq   uint16
	rest  time.Time   // until when its sequence rests, once given up
	reply chan packet // its response, also a late one; closed when none can come
}

func newConn(tcp *net.TCPConn, handlers map[string]handler) *conn {
	c := &conn{
		tcp:      tcp,
		handlers: handlers,
		pending:  map[uint16]*call{},
		resting:  map[uint16]*call{},
		running:  map[uint16]context.CancelFunc{},
		messages: make(chan packet, 256),
	}
	go c.handleMessages()
	go c.read()
	return c
}

func (c *conn) close() { _ = c.tcp.Close() }

// Calls, and waits for the answer.
func (c *conn) call(code string, payload []byte) ([]byte, error) {
	answer, err := c.exchange(code, payload)
	return answer.payload, err
}

// Like call, for those who want to see the flag of the answer too.
func (c *conn) exchange(code string, payload []byte) (packet, error) {
	call, err := c.start(code, payload)
	if err != nil {
		return packet{}, err
	}
	return call.wait()
}

// Writes a request and does not wait.
func (c *conn) start(code string, payload []byte) (*call, error) {
	if strings.IndexByte(code, 0) >= 0 {
		return nil, errors.New("a code can't hold a zero byte")
	}
	c.lock.Lock()
	if c.ended != nil {
		defer c.lock.Unlock()
		return nil, c.ended
	}
	if c.peer.maxPayload > 0 && uint64(len(payload)) > c.peer.maxPayload {
		c.lock.Unlock()
		return nil, errors.New("the peer does not take a payload of this length")
	}
	seq, ok := c.sequence()
	if !ok {
		c.lock.Unlock()
		return nil, errors.New("no sequence is free")
	}
	// In the table before it is written: an immediate answer finds it.
	call := &call{c: c, seq: seq, reply: make(chan packet, 1)}
	c.pending[seq] = call
	c.lock.Unlock()
	return call, c.send(flagRequest, seq, code, payload)
}

// The next sequence neither in flight nor at rest: 1..=65535, round and round.
func (c *conn) sequence() (uint16, bool) {
	if len(c.pending) >= maxInFlight {
		return 0, false
	}
	now := time.Now()
	for tries := 0; tries < 65535; tries++ {
		c.last++
		if c.last == 0 {
			c.last = 1
		}
		if c.pending[c.last] != nil {
			continue
		}
		if given := c.resting[c.last]; given != nil {
			if now.Before(given.rest) {
				continue
			}
			delete(c.resting, c.last)
		}
		return c.last, true
	}
	return 0, false
}

func (k *call) wait() (packet, error) {
	timer := time.NewTimer(callTime)
	defer timer.Stop()
	select {
	case answer, ok := <-k.reply:
		switch {
		case !ok:
			return answer, errors.New("the connection ended before the answer came")
		case answer.trouble != "":
			return answer, fmt.Errorf("the answer can't be used: %s", answer.trouble)
		case answer.code != "":
			return answer, &remoteError{answer.code, answer.payload}
		}
		return answer, nil
	case <-timer.C:
		_ = k.cancel()
		return packet{}, fmt.Errorf("no answer to sequence %d in %v", k.seq, callTime)
	}
}

// Gives the call up: its sequence rests, and a peer that knows $cancel is told. A late response still
// comes out of reply.
func (k *call) cancel() error {
	k.c.lock.Lock()
	if k.c.pending[k.seq] != k {
		k.c.lock.Unlock()
		return nil
	}
	delete(k.c.pending, k.seq)
	k.rest = time.Now().Add(quarantine)
	k.c.resting[k.seq] = k
	known := k.c.peer.cancel
	k.c.lock.Unlock()
	if !known {
		return nil
	}
	return k.c.send(0, 0, "$cancel", []byte{byte(k.seq >> 8), byte(k.seq)})
}

func (c *conn) message(code string, payload []byte) error { return c.send(0, 0, code, payload) }

// Tells the peer what this program can do, and learns what the peer can.
func (c *conn) hello() (capabilities, error) {
	list, err := c.call("$hello", ownCapabilities)
	if err != nil {
		return capabilities{}, err
	}
	can := parseCapabilities(list)
	c.lock.Lock()
	c.peer = can
	c.lock.Unlock()
	return can, nil
}

func (c *conn) compress(on bool) {
	c.lock.Lock()
	c.zip = on
	c.lock.Unlock()
}

func (c *conn) send(flag byte, seq uint16, code string, payload []byte) error {
	c.lock.Lock()
	zip := c.zip
	c.lock.Unlock()
	if zip && len(payload) >= zipFrom && !strings.HasPrefix(code, "$") {
		if zipped := deflate(payload); len(zipped) < len(payload) {
			flag, payload = flag|flagZipPayload, zipped
		}
	}
	return c.write(encode(flag, seq, code, payload))
}

func (c *conn) write(bytes []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	_ = c.tcp.SetWriteDeadline(time.Now().Add(callTime))
	_, err := c.tcp.Write(bytes)
	if err != nil {
		// Half a packet may be out; nothing can follow it.
		c.close()
	}
	return err
}

func (c *conn) read() {
	in := bufio.NewReaderSize(c.tcp, 64<<10)
	var err error
	for {
		var p packet
		if p, err = readPacket(in); err != nil {
			break
		}
		if p.flag&(flagZipCode|flagZipPayload) != 0 && p.trouble == "" {
			c.compress(true)
		}
		switch {
		case p.isResponse():
			c.settle(p)
		case p.wantsAnswer():
			c.begin(p)
		case p.trouble != "":
		case p.code == "$cancel":
			c.obeyCancel(p.payload)
		default:
			c.messages <- p
		}
	}
	close(c.messages)
	c.end(err)
}

// Gives a response to its call. One that belongs to no call is dropped (F21).
func (c *conn) settle(p packet) {
	c.lock.Lock()
	call := c.pending[p.seq]
	if call == nil {
		call = c.resting[p.seq]
	}
	delete(c.pending, p.seq)
	delete(c.resting, p.seq)
	c.lock.Unlock()
	if call != nil {
		call.reply <- p
	}
}

// Starts the work for a request.
func (c *conn) begin(p packet) {
	ctx, cancel := context.WithCancel(context.Background())
	c.lock.Lock()
	if len(c.running) >= maxUnanswered && p.trouble == "" {
		p.trouble = "BUSY"
	}
	// In the table before the next packet is read: it may be the $cancel.
	if p.trouble == "" {
		c.running[p.seq] = cancel
	}
	c.lock.Unlock()
	c.work.Add(1)
	go func() {
		defer c.work.Done()
		defer cancel()
		payload, failure := c.answer(ctx, p)
		if failure == nil {
			c.lock.Lock()
			limit := c.peer.maxPayload
			c.lock.Unlock()
			if limit > 0 && uint64(len(payload)) > limit {
				failure = &remoteError{code: "TOO_LARGE"}
			}
		}
		if p.trouble == "" {
			// Before the answer is out: then the peer may use the sequence again.
			c.lock.Lock()
			delete(c.running, p.seq)
			c.lock.Unlock()
		}
		if failure == nil {
			_ = c.send(flagResponse, p.seq, "", payload)
			return
		}
		code := failure.code
		if code == "" || strings.IndexByte(code, 0) >= 0 {
			code = "ERROR"
		}
		_ = c.send(flagResponse, p.seq, code, failure.details)
	}()
}

func (c *conn) answer(ctx context.Context, p packet) (result []byte, failure *remoteError) {
	if p.trouble != "" {
		return nil, &remoteError{code: p.trouble}
	}
	switch p.code {
	case "$ping":
		return p.payload, nil
	case "$hello":
		can := parseCapabilities(p.payload)
		c.lock.Lock()
		c.peer = can
		c.lock.Unlock()
		return ownCapabilities, nil
	}
	handle := c.handlers[p.code]
	if handle == nil {
		return nil, &remoteError{code: "NOT_FOUND"}
	}
	defer func() {
		if recover() != nil {
			result, failure = nil, &remoteError{code: "HANDLER_PANIC"}
		}
	}()
	return handle(ctx, c, p.payload)
}

func (c *conn) obeyCancel(payload []byte) {
	if len(payload) != 2 {
		return
	}
	c.lock.Lock()
	cancel := c.running[uint16(payload[0])<<8|uint16(payload[1])]
	c.lock.Unlock()
	if cancel != nil {
		cancel()
	}
}

// Messages run one after the other, in the order in which they came, and are never answered.
func (c *conn) handleMessages() {
	for p := range c.messages {
		p.flag = 0
		_, _ = c.answer(context.Background(), p)
	}
}

// The peer sends no more: own calls fail at once, answers owed are still sent, then the connection closes.
func (c *conn) end(why error) {
	c.lock.Lock()
	c.ended = errors.New("the connection has ended")
	if why != io.EOF {
		c.ended = fmt.Errorf("the connection was lost: %w", why)
	}
	waiting := []*call{}
	for _, table := range []map[uint16]*call{c.pending, c.resting} {
		for seq, call := range table {
			waiting = append(waiting, call)
			delete(table, seq)
		}
	}
	if why != io.EOF {
		for _, cancel := range c.running {
			cancel()
		}
	}
	c.lock.Unlock()
	for _, call := range waiting {
		close(call.reply)
	}
	done := make(chan struct{})
	go func() {
		c.work.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(callTime):
	}
	c.lock.Lock()
	for _, cancel := range c.running {
		cancel()
	}
	c.lock.Unlock()
	c.close()
}
