package main

// The packets of FlyRPC, and what inflates and deflates them: sections 1, 5 and 6 of docs/protocol.md.

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	flagResponse   = 0x80
	flagRequest    = 0x40
	flagZipCode    = 0x08
	flagZipPayload = 0x04
	flagWidth      = 0x03

	maxCode    = 1024     // bytes, as sent and inflated; more as sent is fatal
	maxPayload = 16 << 20 // bytes, as sent and inflated; more is refused
	maxBody    = 1<<32 - 1
	zipFrom    = 256 // bytes: shorter payloads are not worth compressing
)

// A packet as it was read: code and payload are inflated, unless trouble says why not.
type packet struct {
	flag    byte
	seq     uint16
	code    string
	payload []byte
	trouble string // the error code that a request gets instead of a handler's answer; empty when all is well
}

func (p packet) isResponse() bool { return p.flag&flagResponse != 0 }

// A response takes no answer, whatever its request bit says (F4).
func (p packet) wantsAnswer() bool { return p.flag&(flagResponse|flagRequest) == flagRequest }

// The narrowest width for a payload, as the flag's two low bits say it (F2).
func widthOf(length int) byte {
	switch {
	case length <= 0xff:
		return 0
	case length <= 0xffff:
		return 1
	case uint64(length) <= 0xffffffff:
		return 2
	}
	return 3
}

func encode(flag byte, seq uint16, code string, payload []byte) []byte {
	return encodeWide(flag, seq, code, payload, widthOf(len(payload)))
}

// Like encode, in a width of the caller's choice, which must hold the length.
func encodeWide(flag byte, seq uint16, code string, payload []byte, width byte) []byte {
	out := make([]byte, 0, 3+len(code)+1+8+len(payload))
	out = append(out, flag|width, byte(seq>>8), byte(seq))
	out = append(out, code...)
	out = append(out, 0)
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(payload)))
	out = append(out, length[8-(1<<width):]...)
	return append(out, payload...)
}

// Reads one packet. io.EOF is the end between two packets; every other error is fatal to the connection.
func readPacket(in *bufio.Reader) (packet, error) {
	var p packet
	flag, err := in.ReadByte()
	if err != nil {
		return p, err
	}
	p.flag = flag
	cut := func(err error) error {
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	var head [2]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return p, cut(err)
	}
	p.seq = binary.BigEndian.Uint16(head[:])
	var code []byte
	for {
		b, err := in.ReadByte()
		if err != nil {
			return p, cut(err)
		}
		if b == 0 {
			break
		}
		if len(code) == maxCode {
			return p, errors.New("the code is too long")
		}
		code = append(code, b)
	}
	var wide [8]byte
	if _, err := io.ReadFull(in, wide[8-(1<<(flag&flagWidth)):]); err != nil {
		return p, cut(err)
	}
	length := binary.BigEndian.Uint64(wide[:])
	if length > maxBody {
		return p, fmt.Errorf("a payload of %d bytes is announced", length)
	}
	if length > maxPayload {
		// Its end is known: pass over it and go on.
		p.trouble = "TOO_LARGE"
		_, err := io.CopyN(io.Discard, in, int64(length))
		return p, cut(err)
	}
	// A buffer that grows with what arrives: the length field alone reserves nothing (F10).
	var payload bytes.Buffer
	if _, err := io.CopyN(&payload, in, int64(length)); err != nil {
		return p, cut(err)
	}
	p.unpack(code, payload.Bytes())
	return p, nil
}

func (p *packet) unpack(code, payload []byte) {
	if p.flag&flagZipCode != 0 {
		stuffed, ok := uncobs(code)
		if !ok {
			p.trouble = "BAD_ZIP"
			return
		}
		if code, p.trouble = inflate(stuffed, maxCode); p.trouble != "" {
			return
		}
		if bytes.IndexByte(code, 0) >= 0 {
			p.trouble = "BAD_CODE"
			return
		}
	}
	if !p.isResponse() && !utf8.Valid(code) {
		p.trouble = "BAD_CODE"
		return
	}
	p.code = string(code)
	p.payload = payload
	if p.flag&flagZipPayload != 0 {
		p.payload, p.trouble = inflate(payload, maxPayload)
	}
}

// The whole of one raw DEFLATE stream with nothing behind it (F33), or the error code.
func inflate(zipped []byte, limit int64) ([]byte, string) {
	// flate reads from a ByteReader not one byte more than it needs, so what is left is what was behind the end.
	source := bytes.NewReader(zipped)
	var out bytes.Buffer
	n, err := io.Copy(&out, io.LimitReader(flate.NewReader(source), limit+1))
	switch {
	case n > limit:
		return nil, "TOO_LARGE"
	case err != nil || source.Len() > 0:
		return nil, "BAD_ZIP"
	}
	return out.Bytes(), ""
}

func deflate(plain []byte) []byte {
	var out bytes.Buffer
	// Neither can fail: the level is a legal one, and a buffer takes everything.
	w, _ := flate.NewWriter(&out, flate.DefaultCompression)
	_, _ = w.Write(plain)
	_ = w.Close()
	return out.Bytes()
}

// Consistent overhead byte stuffing without the closing zero (F32).
func cobs(in []byte) []byte {
	out := []byte{0}
	mark := 0
	for i, b := range in {
		if b == 0 {
			out[mark] = byte(len(out) - mark)
			mark = len(out)
			out = append(out, 0)
			continue
		}
		out = append(out, b)
		if len(out)-mark == 255 && i+1 < len(in) {
			out[mark] = 255
			mark = len(out)
			out = append(out, 0)
		}
	}
	out[mark] = byte(len(out) - mark)
	return out
}

func uncobs(in []byte) ([]byte, bool) {
	var out []byte
	for len(in) > 0 {
		run := int(in[0])
		if run == 0 || run > len(in) {
			return nil, false
		}
		out = append(out, in[1:run]...)
		in = in[run:]
		if run < 255 && len(in) > 0 {
			out = append(out, 0)
		}
	}
	return out, true
}

// What a peer said in its $hello; all zero for one that said nothing.
type capabilities struct {
	version    string
	zip        bool
	cancel     bool
	maxPayload uint64 // 0: not said
}

var ownCapabilities = []byte(fmt.Sprintf("version=1\nzip=1\ncancel=1\nmax-payload=%d\n", maxPayload))

func parseCapabilities(list []byte) capabilities {
	var can capabilities
	for _, line := range strings.Split(string(list), "\n") {
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		switch key {
		case "version":
			can.version = value
		case "zip":
			can.zip = value == "1"
		case "cancel":
			can.cancel = value == "1"
		case "max-payload":
			var n uint64
			if _, err := fmt.Sscanf(value, "%d", &n); err == nil {
				can.maxPayload = n
			}
		}
	}
	return can
}
