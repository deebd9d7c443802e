package raftnode_test

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func fetch(t *testing.T, from *server, url string) string {
	t.Helper()
	response, err := from.PeerClient().Get(url)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(text)
}
