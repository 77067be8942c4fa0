package agent

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"
)

// Info asks the guest how it fares.
func (c *Client) Info(ctx context.Context) (*Info, error) {
	p, err := c.ask(ctx, "asking how it fares", FeatureInfo, typeInfo, nil)
	if err != nil {
		return nil, err
	}
	// It has been parsed by the reader already, which ends the connection otherwise.
	return parseInfo(p)
}

// SetTime sets the guest's clock, as after a pause that the guest knows nothing of.
func (c *Client) SetTime(ctx context.Context, t time.Time) error {
	b := binary.LittleEndian.AppendUint64(nil, uint64(t.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(t.Nanosecond()))
	p, err := c.ask(ctx, "setting its clock", FeatureSetTime, typeSetTime, b)
	if err != nil {
		return err
	}
	if errno := binary.LittleEndian.Uint16(p); errno != 0 {
		return fmt.Errorf("set the guest's clock: %w", syscall.Errno(errno))
	}
	return nil
}

// ask sends a request with an id of its own and waits for the answer.
func (c *Client) ask(ctx context.Context, what string, feature Features, t frameType, body []byte) ([]byte, error) {
	if c.peer.features&feature == 0 {
		return nil, fmt.Errorf("%s: %w", what, ErrUnsupported)
	}
	id, answer := rand.Uint64(), make(chan []byte, 1)
	c.mu.Lock()
	c.asked[id] = asked{t + 1, answer}
	c.mu.Unlock()
	b := append(binary.LittleEndian.AppendUint64(nil, id), body...)
	if err := c.out.control(newFrame(t, 0, b), ctx.Done()); err != nil && ctx.Err() == nil {
		return nil, c.disconnected(what, err)
	}
	select {
	case p := <-answer:
		return p, nil
	case <-c.done:
		return nil, c.disconnected(what, nil)
	case <-ctx.Done(): // the id stays: its answer may still come
		return nil, fmt.Errorf("%s, the guest's agent: %w", what, context.Cause(ctx))
	}
}

// asked is a request that waits for an answer of this type.
type asked struct {
	typ    frameType
	answer chan []byte
}

// answered passes an answer on, once it is known to be one.
func (c *Client) answered(t frameType, p []byte) error {
	d := decoder{p: p}
	id := d.u64()
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.asked[id]
	if d.bad || !ok || a.typ != t {
		return &ProtocolError{"answer to a question that was not asked"}
	}
	switch t {
	case typeInfoReply:
		if _, err := parseInfo(d.p); err != nil {
			return err
		}
	default:
		if len(d.p) != 2 {
			return &ProtocolError{"malformed answer"}
		}
	}
	delete(c.asked, id)
	a.answer <- append([]byte(nil), d.p...)
	return nil
}
