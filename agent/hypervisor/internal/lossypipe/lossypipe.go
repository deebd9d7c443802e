// Package lossypipe holds a pipe whose writer never waits: when the reader is slow, the oldest bytes are lost.
//
// A serial port works like that, and it must: were the bytes kept back instead, a user who attaches to a console and reads nothing would
// stall the guest, whose kernel waits for its serial port.
package lossypipe

import (
	"io"
	"sync"
)

// Pipe holds at most as many bytes as New was given.
type Pipe struct {
	mutex  sync.Mutex
	change *sync.Cond
	bytes  []byte
	limit  int
	end    error
}

// New returns a pipe that keeps limit unread bytes.
func New(limit int) *Pipe {
	pipe := &Pipe{limit: limit}
	pipe.change = sync.NewCond(&pipe.mutex)
	return pipe
}

// Write never waits and never fails; after CloseWith the bytes go nowhere.
func (pipe *Pipe) Write(data []byte) (int, error) {
	pipe.mutex.Lock()
	defer pipe.mutex.Unlock()
	if pipe.end == nil {
		pipe.bytes = append(pipe.bytes, data...)
		if surplus := len(pipe.bytes) - pipe.limit; surplus > 0 {
			pipe.bytes = append(pipe.bytes[:0], pipe.bytes[surplus:]...)
		}
		pipe.change.Broadcast()
	}
	return len(data), nil
}

// Read waits for bytes. What was written before CloseWith can still be read after it; then it returns the error given there.
func (pipe *Pipe) Read(into []byte) (int, error) {
	pipe.mutex.Lock()
	defer pipe.mutex.Unlock()
	if len(into) == 0 {
		return 0, nil
	}
	for len(pipe.bytes) == 0 {
		if pipe.end != nil {
			return 0, pipe.end
		}
		pipe.change.Wait()
	}
	count := copy(into, pipe.bytes)
	pipe.bytes = append(pipe.bytes[:0], pipe.bytes[count:]...)
	return count, nil
}

// CloseWith ends the pipe; the first error counts, nil means io.EOF.
func (pipe *Pipe) CloseWith(err error) {
	pipe.mutex.Lock()
	defer pipe.mutex.Unlock()
	if err == nil {
		err = io.EOF
	}
	if pipe.end == nil {
		pipe.end = err
		pipe.change.Broadcast()
	}
}
