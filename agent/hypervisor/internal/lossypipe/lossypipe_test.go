package lossypipe_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/coloa-cloud/coloa/agent/hypervisor/internal/lossypipe"
)

func TestOldestBytesAreLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 50).Draw(t, "limit")
		pipe, model := lossypipe.New(limit), ""
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				text := rapid.StringN(0, -1, 100).Draw(t, "text")
				count, err := pipe.Write([]byte(text))
				require.NoError(t, err)
				require.Equal(t, len(text), count)
				model += text
				model = model[max(0, len(model)-limit):]
			},
			"read": func(t *rapid.T) {
				into := make([]byte, rapid.IntRange(0, 60).Draw(t, "size"))
				if len(model) == 0 && len(into) > 0 {
					return // it would wait
				}
				count, err := pipe.Read(into)
				require.NoError(t, err)
				require.Equal(t, model[:min(len(model), len(into))], string(into[:count]))
				model = model[count:]
			},
		})
		pipe.CloseWith(nil)
		rest, err := io.ReadAll(pipe)
		require.NoError(t, err)
		require.Equal(t, model, string(rest), "what was written before the end can be read after it")
	})
}

func TestReadWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipe := lossypipe.New(10)
		var got strings.Builder
		var ended error
		go func() {
			buffer := make([]byte, 4)
			for {
				count, err := pipe.Read(buffer)
				got.Write(buffer[:count])
				if err != nil {
					ended = err
					return
				}
			}
		}()
		synctest.Wait()
		require.Empty(t, got.String())
		_, _ = pipe.Write([]byte("hello"))
		synctest.Wait()
		require.Equal(t, "hello", got.String())
		reason := errors.New("the reason")
		pipe.CloseWith(reason)
		pipe.CloseWith(nil) // the first counts
		synctest.Wait()
		require.Equal(t, reason, ended)
		_, err := pipe.Write([]byte("late"))
		require.NoError(t, err)
		_, err = pipe.Read(make([]byte, 4))
		require.Equal(t, reason, err)
	})
}
