package testbed

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller"
)

// TestRecovery: root on the controller's server lets an administrator in again, once for each recovery, and administrators can see it.
func TestRecovery(t *testing.T) {
	w := newWorld(t, Options{Controllers: 1, Hosts: 1})
	founding, member := w.cloud.first, w.cloud.Controllers[0]
	restart := func(first *controller.First) {
		t.Helper()
		require.NoError(t, member.Stop())
		w.cloud.first = first
		require.NoError(t, member.Start())
		require.Eventually(t, func() bool { return w.do("", "GET", "/readyz", nil).status == 200 }, 10*time.Second, 10*time.Millisecond)
	}
	const prefix = "coloa_recovery-of-the-tests-" // shorter texts are no tokens
	prepare := func(user, token string) *controller.First {
		sum := sha256.Sum256([]byte(prefix + token))
		return &controller.First{
			Cluster: w.cloud.ID, Admin: user, TokenHash: hex.EncodeToString(sum[:]), Created: time.Now(), ExpiresAt: time.Now().Add(time.Hour), Recovery: true,
		}
	}
	login := func(token string) reply { return w.do("", "POST", "/v1/login", v1.LoginRequest{Token: prefix + token}) }
	session := func(token string) string {
		t.Helper()
		// Ready is said when the member leads; the recovery is the term's first work.
		var got reply
		require.Eventually(t, func() bool { got = login(token); return got.status == 200 }, 10*time.Second, 20*time.Millisecond)
		var response v1.LoginResponse
		require.NoError(t, json.Unmarshal([]byte(got.body), &response))
		return "token:" + response.Secret
	}
	events := func() int {
		return len(member.get().Store().Snapshot().Events(0, 0, 100, func(e *v1.Event) bool {
			return e.Actor == "cluster recover" && e.Note == "recovered by root on the server"
		}))
	}

	restart(founding) // what founded the cloud brings nothing back
	time.Sleep(200 * time.Millisecond)
	require.Equal(t, v1.CodeUnauthenticated, w.do("", "POST", "/v1/login", v1.LoginRequest{Token: w.cloud.Token}).code())

	first := prepare("admin", "first")
	restart(first)
	require.Contains(t, w.must(200, session("first"), "GET", "/v1/whoami", nil).body, `"admin"`)
	require.Equal(t, 1, events()) // the token; the user was as it should be
	restart(first)                // the file was not removed, whatever the reason
	time.Sleep(200 * time.Millisecond)
	require.Equal(t, v1.CodeUnauthenticated, login("first").code(), "a used token came back")
	require.Equal(t, 1, events())

	restart(prepare("nobody-yet", "second")) // a user who does not exist
	w.must(201, session("second"), "POST", "/v1/flavors", draft("made", "", v1.FlavorSpec{VCPUs: 1, MemoryMiB: 128, DiskGiB: 1}))
	require.Equal(t, 3, events())

	snapshot := member.get().Store().Snapshot()
	user := snapshot.User(w.ids["user/red-member"])
	spec := user.Spec
	spec.Disabled = true
	w.must(200, "admin", "PUT", "/v1/users/red-member", map[string]any{"name": user.Name, "spec": spec})
	restart(prepare("red-member", "third")) // one who may not enter, and was no administrator
	w.must(201, session("third"), "POST", "/v1/flavors", draft("made-too", "", v1.FlavorSpec{VCPUs: 1, MemoryMiB: 128, DiskGiB: 1}))
	require.Equal(t, 5, events())

	expired, foreign := prepare("admin", "expired"), prepare("admin", "foreign")
	expired.ExpiresAt = time.Now().Add(-time.Second)
	foreign.Cluster = user.ID
	for token, first := range map[string]*controller.First{"expired": expired, "foreign": foreign} {
		restart(first)
		time.Sleep(200 * time.Millisecond)
		require.Equal(t, v1.CodeUnauthenticated, login(token).code(), token)
	}
	require.Equal(t, 5, events())
}
