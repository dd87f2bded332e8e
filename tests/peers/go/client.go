package main

// The client role: checks against a server, one line of output for each.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	checkTime = 20 * time.Second
	soon      = 5 * time.Second
)

type check struct {
	name string
	run  func(address string) error
}

// Each check has a connection of its own, or several.
func checks() []check {
	list := []check{}
	for _, length := range []int{0, 1, 255, 256, 65535, 65536, 1 << 20} {
		length := length
		list = append(list, check{fmt.Sprintf("echo-%d", length), connected(func(c *conn) error {
			return echoes(c, length)
		})})
	}
	list = append(list,
		check{"wide-lengths", wideLengths},
		check{"foreign-bits", foreignBits},
		check{"upper", connected(upperCase)},
		check{"concurrent-1000", connected(concurrent)},
		check{"greet", connected(nested)},
		check{"error-code", connected(func(c *conn) error { return expectError(c, "fail", "NO_SUCH_LAMP") })},
		check{"not-found", connected(func(c *conn) error { return expectError(c, "nowhere", "NOT_FOUND") })},
		check{"bad-code", badCode},
		check{"implicit-ack", connected(implicitAck)},
		check{"messages-counted", connected(messagesCounted)},
		check{"messages-in-order", connected(messagesInOrder)},
		check{"messages-unanswered", messagesUnanswered},
		check{"big", connected(bigAnswer)},
	)
	for _, length := range []int{0, 8, 64} {
		length := length
		list = append(list, check{fmt.Sprintf("ping-%d", length), connected(func(c *conn) error {
			payload := pattern(length)
			answer, err := c.call("$ping", payload)
			return same(answer, payload, err)
		})})
	}
	return append(list,
		check{"hello", connected(hello)},
		check{"cancel", connected(cancel)},
		check{"zip-payload", connected(zipPayload)},
		check{"zip-code", zipCode},
		check{"bad-zip", badZip},
		check{"sequence-wrap", connected(sequenceWrap)},
		check{"byte-by-byte", byteByByte},
		check{"many-in-one-write", manyInOneWrite},
		check{"half-close", halfClose},
		check{"abrupt-close", abruptClose},
	)
}

// Runs all checks but those to skip, and gives the exit code.
func client(address string, skip []string) int {
	skipped := map[string]bool{}
	for _, name := range skip {
		skipped[name] = true
	}
	ok, failed := 0, 0
	for _, check := range checks() {
		if skipped[check.name] {
			delete(skipped, check.name)
			fmt.Printf("skip %s\n", check.name)
			continue
		}
		result := make(chan error, 1)
		run := check.run
		go func() { result <- run(address) }()
		var err error
		select {
		case err = <-result:
		case <-time.After(checkTime):
			err = fmt.Errorf("not done in %v", checkTime)
		}
		if err != nil {
			failed++
			fmt.Printf("FAIL %s: %v\n", check.name, err)
		} else {
			ok++
			fmt.Printf("ok %s\n", check.name)
		}
	}
	for name := range skipped {
		failed++
		fmt.Printf("FAIL %s: there is no such check to skip\n", name)
	}
	fmt.Printf("done %d ok %d failed\n", ok, failed)
	if failed > 0 {
		return 1
	}
	return 0
}

func connected(run func(c *conn) error) func(string) error {
	return func(address string) error {
		tcp, err := dial(address)
		if err != nil {
			return err
		}
		c := newConn(tcp, map[string]handler{
			"name": func(context.Context, *conn, []byte) ([]byte, *remoteError) { return []byte("Go"), nil },
		})
		defer c.close()
		return run(c)
	}
}

func dial(address string) (*net.TCPConn, error) {
	stream, err := net.DialTimeout("tcp", address, soon)
	if err != nil {
		return nil, err
	}
	return stream.(*net.TCPConn), nil
}

// A connection whose bytes the check writes itself.
type raw struct {
	tcp *net.TCPConn
	in  *bufio.Reader
}

func dialRaw(address string) (raw, error) {
	tcp, err := dial(address)
	if err != nil {
		return raw{}, err
	}
	// One bound for all that a check does here.
	_ = tcp.SetDeadline(time.Now().Add(checkTime / 2))
	return raw{tcp, bufio.NewReader(tcp)}, nil
}

func (r raw) write(bytes []byte) error {
	_, err := r.tcp.Write(bytes)
	return err
}

// Reads one packet, which must be this response.
func (r raw) expect(seq uint16, code string, payload []byte) error {
	p, err := readPacket(r.in)
	switch {
	case err != nil:
		return err
	case !p.isResponse() || p.seq != seq || p.code != code:
		return fmt.Errorf("wanted response %d %q, got flag %#x, sequence %d, code %q", seq, code, p.flag, p.seq, p.code)
	}
	return same(p.payload, payload, nil)
}

func (r raw) expectEnd() error {
	p, err := readPacket(r.in)
	switch {
	case err == io.EOF:
		return nil
	case err != nil:
		return fmt.Errorf("wanted the end of the stream: %w", err)
	}
	return fmt.Errorf("wanted the end of the stream, got flag %#x, sequence %d, code %q", p.flag, p.seq, p.code)
}

func pattern(length int) []byte {
	out := make([]byte, length)
	for i := range out {
		out[i] = byte(i*7 + i>>8)
	}
	return out
}

func same(got, wanted []byte, err error) error {
	switch {
	case err != nil:
		return err
	case !bytes.Equal(got, wanted):
		return fmt.Errorf("%d bytes %.40q came, not the %d bytes %.40q", len(got), got, len(wanted), wanted)
	}
	return nil
}

func expectError(c *conn, method, code string) error {
	_, err := c.call(method, nil)
	var remote *remoteError
	if !errors.As(err, &remote) || remote.code != code {
		return fmt.Errorf("wanted the error %s, got %v", code, err)
	}
	return nil
}

func echoes(c *conn, length int) error {
	payload := pattern(length)
	answer, err := c.exchange("echo", payload)
	if err == nil && answer.flag&flagWidth != widthOf(length) {
		return fmt.Errorf("the answer's flag is %#x: not the narrowest width", answer.flag)
	}
	return same(answer.payload, payload, err)
}

func wideLengths(address string) error {
	r, err := dialRaw(address)
	if err != nil {
		return err
	}
	defer r.tcp.Close()
	for width := byte(0); width <= 3; width++ {
		seq := uint16(width) + 1
		if err := r.write(encodeWide(flagRequest, seq, "echo", []byte("abc"), width)); err != nil {
			return err
		}
		if err := r.expect(seq, "", []byte("abc")); err != nil {
			return fmt.Errorf("width %d: %w", 1<<width, err)
		}
	}
	return nil
}

// Reserved bits, sequence 0, responses for nobody with both bits set, a message with a sequence.
func foreignBits(address string) error {
	r, err := dialRaw(address)
	if err != nil {
		return err
	}
	defer r.tcp.Close()
	var out []byte
	out = append(out, encode(0xc0, 7, "", []byte("nobody asked"))...)
	out = append(out, encode(0xf0, 8, "NOT_FOUND", nil)...)
	out = append(out, encode(0x30, 9, "echo", []byte("a message"))...)
	out = append(out, encode(0x70, 0, "echo", []byte("zero"))...)
	if err := r.write(out); err != nil {
		return err
	}
	return r.expect(0, "", []byte("zero"))
}

func upperCase(c *conn) error {
	answer, err := c.call("upper", []byte("dämmerung"))
	return same(answer, []byte("DÄMMERUNG"), err)
}

func concurrent(c *conn) error {
	calls := make([]*call, 1000)
	text := func(i int) []byte { return []byte(fmt.Sprintf("%d:%s", i, strings.Repeat("x", i%300))) }
	for i := range calls {
		var err error
		if calls[i], err = c.start("echo", text(i)); err != nil {
			return err
		}
	}
	for i, call := range calls {
		answer, err := call.wait()
		if err := same(answer.payload, text(i), err); err != nil {
			return fmt.Errorf("call %d: %w", i, err)
		}
	}
	return nil
}

func nested(c *conn) error {
	answer, err := c.call("greet", nil)
	return same(answer, []byte("hello, Go"), err)
}

func badCode(address string) error {
	r, err := dialRaw(address)
	if err != nil {
		return err
	}
	defer r.tcp.Close()
	out := append(encode(flagRequest, 1, "\xff", nil), encode(0, 0, "\xff", nil)...)
	out = append(out, encode(flagRequest, 2, "$ping", []byte("on"))...)
	if err := r.write(out); err != nil {
		return err
	}
	return r.expectAll(map[uint16]answer{1: {"BAD_CODE", nil}, 2: {"", []byte("on")}})
}

func implicitAck(c *conn) error {
	answer, err := c.call("note", []byte("dusk"))
	return same(answer, nil, err)
}

func noted(c *conn, payload string) ([]int, error) {
	answer, err := c.call("count", []byte(payload))
	if err != nil {
		return nil, err
	}
	numbers := []int{}
	for _, field := range strings.Fields(string(answer)) {
		n, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("count answered %.40q", answer)
		}
		numbers = append(numbers, n)
	}
	if len(numbers) == 0 {
		return nil, fmt.Errorf("count answered %.40q", answer)
	}
	return numbers, nil
}

// Sends numbered notes and asks until all have been handled: a count may overtake the messages before it (F15).
func notesUntilCounted(c *conn, n int, payload string) ([]int, error) {
	before, err := noted(c, payload)
	if err != nil {
		return nil, err
	}
	for i := 1; i <= n; i++ {
		if err := c.message("note", []byte(strconv.Itoa(i))); err != nil {
			return nil, err
		}
	}
	for end := time.Now().Add(soon); ; {
		now, err := noted(c, payload)
		switch {
		case err != nil:
			return nil, err
		case now[0] == before[0]+n:
			return now, nil
		case now[0] > before[0]+n || time.Now().After(end):
			return nil, fmt.Errorf("%d notes were counted, not %d", now[0]-before[0], n)
		}
	}
}

func messagesCounted(c *conn) error {
	_, err := notesUntilCounted(c, 100, "")
	return err
}

func messagesInOrder(c *conn) error {
	counts, err := notesUntilCounted(c, 500, "order")
	switch {
	case err != nil:
		return err
	case len(counts) != 2:
		return errors.New("the server's count does not tell the order")
	case counts[1] != 0:
		return fmt.Errorf("%d notes were out of order", counts[1])
	}
	return nil
}

func messagesUnanswered(address string) error {
	r, err := dialRaw(address)
	if err != nil {
		return err
	}
	defer r.tcp.Close()
	out := append(encode(0, 0, "echo", []byte("hi")), encode(0, 0, "nowhere", nil)...)
	out = append(out, encode(0, 5, "fail", nil)...)
	if err := r.write(append(out, encode(flagRequest, 1, "echo", []byte("last"))...)); err != nil {
		return err
	}
	if err := r.tcp.CloseWrite(); err != nil {
		return err
	}
	if err := r.expect(1, "", []byte("last")); err != nil {
		return err
	}
	return r.expectEnd()
}

func bigAnswer(c *conn) error {
	answer, err := c.call("big", []byte("300000"))
	if err == nil && len(answer) != 300_000 {
		return fmt.Errorf("%d bytes came", len(answer))
	}
	return err
}

func hello(c *conn) error {
	can, err := c.hello()
	if err == nil && (can.version != "1" || !can.zip || !can.cancel || can.maxPayload == 0) {
		return fmt.Errorf("the server says only %+v", can)
	}
	return err
}

func cancel(c *conn) error {
	if err := hello(c); err != nil {
		return err
	}
	call, err := c.start("sleep", []byte("60000"))
	if err != nil {
		return err
	}
	if err := call.cancel(); err != nil {
		return err
	}
	select {
	case late, ok := <-call.reply:
		if !ok || late.code != "CANCELLED" {
			return fmt.Errorf("the cancelled request was answered %q %.40q", late.code, late.payload)
		}
	case <-time.After(soon):
		return errors.New("the cancelled request was not answered")
	}
	return echoes(c, 20)
}

func zipPayload(c *conn) error {
	if err := hello(c); err != nil {
		return err
	}
	c.compress(true)
	easy := bytes.Repeat([]byte("hello "), 5000)
	answer, err := c.exchange("echo", easy)
	if err := same(answer.payload, easy, err); err != nil {
		return err
	}
	if answer.flag&flagZipPayload == 0 {
		return errors.New("the answer was not compressed")
	}
	hard := make([]byte, 5000)
	rand.New(rand.NewSource(1)).Read(hard)
	answer, err = c.exchange("echo", hard)
	if err := same(answer.payload, hard, err); err != nil {
		return err
	}
	if answer.flag&flagZipPayload != 0 {
		return errors.New("the answer was compressed and got longer")
	}
	return nil
}

func zipCode(address string) error {
	r, err := dialRaw(address)
	if err != nil {
		return err
	}
	defer r.tcp.Close()
	short := string(cobs(deflate([]byte("echo"))))
	long := string(cobs(deflate([]byte(strings.Repeat("lamp/", 60)))))
	out := append(encode(flagRequest|flagZipCode, 1, short, []byte("hi")), encode(flagRequest|flagZipCode, 2, long, nil)...)
	if err := r.write(out); err != nil {
		return err
	}
	return r.expectAll(map[uint16]answer{1: {"", []byte("hi")}, 2: {"NOT_FOUND", nil}})
}

type answer struct {
	code    string
	payload []byte
}

// Reads one response for each sequence, in any order.
func (r raw) expectAll(wanted map[uint16]answer) error {
	for len(wanted) > 0 {
		p, err := readPacket(r.in)
		if err != nil {
			return fmt.Errorf("%d answers are missing: %w", len(wanted), err)
		}
		want, ok := wanted[p.seq]
		if !ok || !p.isResponse() || p.code != want.code {
			return fmt.Errorf("wanted code %q, got flag %#x, sequence %d, code %q", want.code, p.flag, p.seq, p.code)
		}
		if err := same(p.payload, want.payload, nil); err != nil {
			return err
		}
		delete(wanted, p.seq)
	}
	return nil
}

func badZip(address string) error {
	r, err := dialRaw(address)
	if err != nil {
		return err
	}
	defer r.tcp.Close()
	zipped := deflate([]byte("hello hello hello"))
	out := encode(flagRequest|flagZipPayload, 1, "echo", []byte{0xff})
	out = append(out, encode(flagRequest|flagZipPayload, 2, "echo", append(append([]byte{}, zipped...), 'x'))...)
	out = append(out, encode(flagRequest|flagZipPayload, 3, "echo", zipped[:len(zipped)-2])...)
	out = append(out, encode(flagRequest|flagZipPayload, 4, "echo", zipped)...)
	if err := r.write(out); err != nil {
		return err
	}
	bad := answer{"BAD_ZIP", nil}
	return r.expectAll(map[uint16]answer{1: bad, 2: bad, 3: bad, 4: {"", []byte("hello hello hello")}})
}

// 70,000 echoes, 200 at a time: the sequences come round once.
func sequenceWrap(c *conn) error {
	const total, window = 70_000, 200
	var calls [window]*call
	number := func(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) }
	settle := func(i int) error {
		answer, err := calls[i%window].wait()
		if err := same(answer.payload, number(i), err); err != nil {
			return fmt.Errorf("echo %d: %w", i, err)
		}
		return nil
	}
	for i := 0; i < total+window; i++ {
		if i >= window {
			if err := settle(i - window); err != nil {
				return err
			}
		}
		if i < total {
			var err error
			if calls[i%window], err = c.start("echo", number(i)); err != nil {
				return err
			}
		}
	}
	if last := calls[(total-1)%window].seq; last != total-65535 {
		return fmt.Errorf("the last sequence was %d", last)
	}
	return nil
}

func byteByByte(address string) error {
	r, err := dialRaw(address)
	if err != nil {
		return err
	}
	defer r.tcp.Close()
	payload := pattern(300)
	for _, b := range encode(flagRequest, 1, "echo", payload) {
		if err := r.write([]byte{b}); err != nil {
			return err
		}
		// A pace at which most bytes are segments of their own; nothing depends on it.
		time.Sleep(100 * time.Microsecond)
	}
	return r.expect(1, "", payload)
}

func manyInOneWrite(address string) error {
	r, err := dialRaw(address)
	if err != nil {
		return err
	}
	defer r.tcp.Close()
	var out []byte
	wanted := map[uint16]answer{}
	for seq := uint16(1); seq <= 500; seq++ {
		text := []byte(fmt.Sprintf("packet %d", seq))
		out = append(out, encode(flagRequest, seq, "echo", text)...)
		wanted[seq] = answer{"", text}
	}
	if err := r.write(out); err != nil {
		return err
	}
	return r.expectAll(wanted)
}

func halfClose(address string) error {
	r, err := dialRaw(address)
	if err != nil {
		return err
	}
	defer r.tcp.Close()
	if err := r.write(encode(flagRequest, 1, "sleep", []byte("100"))); err != nil {
		return err
	}
	if err := r.tcp.CloseWrite(); err != nil {
		return err
	}
	p, err := readPacket(r.in)
	switch {
	case err != nil:
		return fmt.Errorf("the answer owed did not come: %w", err)
	case p.flag&^flagWidth != flagResponse || p.seq != 1 || p.code != "":
		return fmt.Errorf("got flag %#x, sequence %d, code %q", p.flag, p.seq, p.code)
	}
	return r.expectEnd()
}

func abruptClose(address string) error {
	whole := encode(flagRequest, 1, "echo", pattern(300))
	for _, part := range []int{1, 3, 6, 9, 100} {
		for _, reset := range []bool{false, true} {
			r, err := dialRaw(address)
			if err != nil {
				return err
			}
			if err := r.write(whole[:part]); err != nil {
				return err
			}
			if reset {
				_ = r.tcp.SetLinger(0)
			}
			_ = r.tcp.Close()
		}
	}
	return connected(func(c *conn) error { return echoes(c, 300) })(address)
}
