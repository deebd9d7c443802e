package testbed

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// TestIdentity: tokens, log-ins, passwords, and the last administrator.
func TestIdentity(t *testing.T) {
	w := newWorld(t, Options{Controllers: 1, Hosts: 1})
	t.Run("tokens", func(t *testing.T) { identityTokens(w.on(t)) })
	t.Run("who am I", func(t *testing.T) { identityWhoAmI(w.on(t)) })
	t.Run("log-in", func(t *testing.T) { identityLogin(w.on(t)) })
	t.Run("passwords", func(t *testing.T) { identityPasswords(w.on(t)) })
	t.Run("users that come and go", func(t *testing.T) { identityUsers(w.on(t)) })
	t.Run("the last administrator", func(t *testing.T) { identityLastAdmin(w.on(t)) })
}

func (w *world) token(user string, spec v1.TokenSpec) v1.NewToken {
	w.Helper()
	var made v1.NewToken
	got := w.must(201, user, "POST", "/v1/tokens", draft("made", "", spec))
	require.NoError(w, json.Unmarshal([]byte(got.body), &made))
	require.NotContains(w, got.body, `"hash"`)
	return made
}

func identityTokens(w *world) {
	in := func(d time.Duration) *time.Time { at := time.Now().Add(d).UTC(); return &at }
	short := w.token("red-member", v1.TokenSpec{ExpiresAt: in(time.Hour)})
	require.True(w, strings.HasPrefix(short.Secret, "coloa_"))
	require.Equal(w, w.ids["user/red-member"], short.Token.Status.UserID)
	w.must(200, "token:"+short.Secret, "GET", "/v1/whoami", nil)

	// A token made by a token does not live longer than its maker.
	child := w.token("token:"+short.Secret, v1.TokenSpec{})
	require.WithinDuration(w, *short.Token.Spec.ExpiresAt, *child.Token.Spec.ExpiresAt, 0)
	child = w.token("token:"+short.Secret, v1.TokenSpec{ExpiresAt: in(24 * time.Hour)})
	require.WithinDuration(w, *short.Token.Spec.ExpiresAt, *child.Token.Spec.ExpiresAt, 0)
	child = w.token("token:"+short.Secret, v1.TokenSpec{ExpiresAt: in(time.Minute)})
	require.Less(w, time.Until(*child.Token.Spec.ExpiresAt), 2*time.Minute)
	// Nor by a way round: a one-time token would become a session of full length.
	problem := w.refused(403, v1.CodeDenied, "token:"+short.Secret, "POST", "/v1/tokens", draft("x", "", v1.TokenSpec{OneTime: true}))
	require.Equal(w, "spec.oneTime", problem.Field)

	for _, wrong := range []time.Duration{-time.Hour, 0, 367 * 24 * time.Hour} {
		problem := w.refused(422, v1.CodeInvalid, "red-member", "POST", "/v1/tokens", draft("x", "", v1.TokenSpec{ExpiresAt: in(wrong)}))
		require.Equal(w, "spec.expiresAt", problem.Field)
	}
	for _, name := range []string{"", "a/b", "a\nb", strings.Repeat("x", 64), "UPPER"} {
		require.Equal(w, 422, w.do("red-member", "POST", "/v1/tokens", draft(name, "", v1.TokenSpec{})).status, "%q", name)
	}

	// Cut off, continued, of another case, or by its id: none of it is a token.
	for _, wrong := range []string{short.Secret[:len(short.Secret)-1], short.Secret + "x", short.Secret[1:], strings.ToUpper(short.Secret), short.Token.ID, "coloa_", strings.Repeat("a", 43), "x"} {
		w.refused(401, v1.CodeUnauthenticated, "token:"+wrong, "GET", "/v1/whoami", nil)
	}
	w.refused(401, v1.CodeUnauthenticated, "", "GET", "/v1/whoami", nil)

	expiring := w.token("red-member", v1.TokenSpec{ExpiresAt: in(1500 * time.Millisecond)})
	w.must(200, "token:"+expiring.Secret, "GET", "/v1/whoami", nil)
	time.Sleep(time.Until(*expiring.Token.Spec.ExpiresAt) + 10*time.Millisecond)
	w.refused(401, v1.CodeUnauthenticated, "token:"+expiring.Secret, "GET", "/v1/whoami", nil)

	// Revoked by its owner, by itself, and not by others.
	w.refused(404, v1.CodeNotFound, "blue-member", "DELETE", "/v1/tokens/"+child.Token.ID, nil)
	w.must(204, "red-member", "DELETE", "/v1/tokens/"+child.Token.ID, nil)
	w.refused(404, v1.CodeNotFound, "red-member", "DELETE", "/v1/tokens/"+child.Token.ID, nil)
	w.refused(401, v1.CodeUnauthenticated, "token:"+child.Secret, "GET", "/v1/whoami", nil)
	w.must(204, "token:"+short.Secret, "POST", "/v1/logout", nil)
	w.refused(401, v1.CodeUnauthenticated, "token:"+short.Secret, "GET", "/v1/whoami", nil)
	w.refused(401, v1.CodeUnauthenticated, "token:"+short.Secret, "POST", "/v1/logout", nil)
	// What it made lives on: it is its owner's.
	require.NotZero(w, w.leader().get().Store().Snapshot().By(v1.KindToken, "user", w.ids["user/red-member"]))

	// Administrators make tokens for others; they act as those.
	other := w.token("admin", v1.TokenSpec{User: "red-reader"})
	require.Contains(w, w.must(200, "token:"+other.Secret, "GET", "/v1/whoami", nil).body, `"red-reader"`)
	w.refused(403, v1.CodeDenied, "token:"+other.Secret, "POST", "/v1/flavors", draft("x", "", v1.FlavorSpec{VCPUs: 1, MemoryMiB: 128, DiskGiB: 1}))
}

func identityLogin(w *world) {
	login := func(request any) reply { return w.do("", "POST", "/v1/login", request) }
	// The first one-time token was used up by the testbed.
	require.Equal(w, v1.CodeUnauthenticated, login(v1.LoginRequest{Token: w.cloud.Token}).code())
	once := w.token("admin", v1.TokenSpec{User: "red-member", OneTime: true})
	w.refused(401, v1.CodeUnauthenticated, "token:"+once.Secret, "GET", "/v1/whoami", nil) // good for nothing but to log in
	ordinary := w.token("admin", v1.TokenSpec{User: "red-member"})
	require.Equal(w, v1.CodeUnauthenticated, login(v1.LoginRequest{Token: ordinary.Secret}).code(), "an ordinary token cannot be exchanged")
	require.Equal(w, v1.CodeUnauthenticated, login(v1.LoginRequest{Token: once.Secret[:len(once.Secret)-2]}).code())

	// Used many times at once, it works once.
	var all sync.WaitGroup
	statuses := make([]int, 8)
	for i := range statuses {
		all.Go(func() { statuses[i] = login(v1.LoginRequest{Token: once.Secret}).status })
	}
	all.Wait()
	counts := map[int]int{}
	for _, status := range statuses {
		counts[status]++
	}
	require.Equal(w, map[int]int{200: 1, 401: 7}, counts)

	require.NoError(w, w.clients["admin"].SetPassword(w.Context(), "red-member", v1.PasswordRequest{Password: password}))
	got := login(v1.LoginRequest{User: "red-member", Password: password})
	require.Equal(w, 200, got.status, got.body)
	var response v1.LoginResponse
	require.NoError(w, json.Unmarshal([]byte(got.body), &response))
	require.WithinDuration(w, time.Now().Add(30*24*time.Hour), response.ExpiresAt, time.Minute)
	require.Equal(w, "red-member", response.User.Name)
	w.must(200, "token:"+response.Secret, "GET", "/v1/whoami", nil)

	// Every refusal is the same, word for word.
	wrong := login(v1.LoginRequest{User: "red-member", Password: password + "x"})
	require.Equal(w, 401, wrong.status)
	for _, request := range []v1.LoginRequest{
		{User: "nobody", Password: password}, {User: "red-reader", Password: password}, {User: "red-member"}, {User: w.ids["user/red-member"], Password: "x"}, {Token: "x"}, {Token: strings.Repeat("x", 200)},
	} {
		require.Equal(w, wrong.body, login(request).body, "%+v", request)
	}
	for _, request := range []any{
		v1.LoginRequest{}, v1.LoginRequest{Password: password}, v1.LoginRequest{User: "red-member", Password: password, Token: "x"}, map[string]any{"user": "x", "password": "y", "admin": true},
		map[string]any{"user": []string{"x"}}, map[string]any{"user": "x", "password": strings.Repeat("y", 1000)},
	} {
		require.Contains(w, []int{400, 422}, login(request).status, "%+v", request)
	}
}

func identityPasswords(w *world) {
	path := "/v1/users/red-reader/password"
	// A first one needs no old one, and is chosen right after a login: a token that somebody found must not become a password.
	w.refused(403, v1.CodeDenied, "red-reader", "POST", path, v1.PasswordRequest{Password: password})
	session := func(request v1.LoginRequest) string {
		w.Helper()
		var response v1.LoginResponse
		require.NoError(w, json.Unmarshal([]byte(w.must(200, "", "POST", "/v1/login", request).body), &response))
		return "token:" + response.Secret
	}
	first := session(v1.LoginRequest{Token: w.token("admin", v1.TokenSpec{User: "red-reader", OneTime: true}).Secret})
	w.must(204, first, "POST", path, v1.PasswordRequest{Password: password})
	second := session(v1.LoginRequest{User: "red-reader", Password: password})
	problem := w.refused(403, v1.CodeDenied, "red-reader", "POST", path, v1.PasswordRequest{Password: password + "2"})
	require.Equal(w, "old", problem.Field)
	w.refused(403, v1.CodeDenied, "red-reader", "POST", path, v1.PasswordRequest{Password: password + "2", Old: "wrong"})
	w.must(204, second, "POST", path, v1.PasswordRequest{Password: password + "2", Old: password})
	// Whoever changes a password stays logged in; whoever else was logged in is not any more. Tokens that were made on purpose stay.
	w.must(200, second, "GET", "/v1/whoami", nil)
	w.refused(401, v1.CodeUnauthenticated, first, "GET", "/v1/whoami", nil)
	w.must(200, "red-reader", "GET", "/v1/whoami", nil)
	require.Equal(w, 401, w.do("", "POST", "/v1/login", v1.LoginRequest{User: "red-reader", Password: password}).status)
	require.Equal(w, 200, w.do("", "POST", "/v1/login", v1.LoginRequest{User: "red-reader", Password: password + "2"}).status)
	for _, bad := range []string{"", "short", strings.Repeat("x", 11), strings.Repeat("x", 257)} {
		require.Equal(w, 422, w.do("red-reader", "POST", path, v1.PasswordRequest{Password: bad, Old: password + "2"}).status)
	}
	w.must(204, "admin", "POST", path, v1.PasswordRequest{Password: password}) // administrators need none for others
	w.must(204, "admin", "POST", "/v1/users/admin/password", v1.PasswordRequest{Password: password})
	w.refused(403, v1.CodeDenied, "admin", "POST", "/v1/users/admin/password", v1.PasswordRequest{Password: password + "3"}) // but for themselves
	w.refused(404, v1.CodeNotFound, "admin", "POST", "/v1/users/nobody/password", v1.PasswordRequest{Password: password})
	w.refused(404, v1.CodeNotFound, "red-reader", "POST", "/v1/users/admin/password", v1.PasswordRequest{Password: password})
	w.refused(403, v1.CodeDenied, "auditor", "POST", "/v1/users/admin/password", v1.PasswordRequest{Password: password}) // sees the user, and may not
	require.Contains(w, w.must(200, "red-reader", "GET", "/v1/users/red-reader", nil).body, `"hasPassword":true`)
	require.Contains(w, w.must(200, "admin", "GET", "/v1/users/both", nil).body, `"hasPassword":false`)
	// A change of the user keeps the password.
	w.must(200, "admin", "PATCH", "/v1/users/red-reader", `{"spec":{"title":"Reader"}}`)
	require.Equal(w, 200, w.do("", "POST", "/v1/login", v1.LoginRequest{User: "red-reader", Password: password}).status)
}

func identityUsers(w *world) {
	w.make("admin", "/v1/users", "guest", "", v1.UserSpec{})
	w.must(204, "admin", "POST", "/v1/users/guest/password", v1.PasswordRequest{Password: password})
	made := w.token("admin", v1.TokenSpec{User: "guest"})
	once := w.token("admin", v1.TokenSpec{User: "guest", OneTime: true})
	w.must(200, "admin", "PATCH", "/v1/users/guest", `{"spec":{"disabled":true}}`)
	w.refused(401, v1.CodeUnauthenticated, "token:"+made.Secret, "GET", "/v1/whoami", nil)
	require.Equal(w, 401, w.do("", "POST", "/v1/login", v1.LoginRequest{Token: once.Secret}).status)
	require.Equal(w, 401, w.do("", "POST", "/v1/login", v1.LoginRequest{User: "guest", Password: password}).status)
	w.must(200, "admin", "PATCH", "/v1/users/guest", `{"spec":{"disabled":false}}`)
	w.refused(401, v1.CodeUnauthenticated, "token:"+made.Secret, "GET", "/v1/whoami", nil) // what was taken away does not come back
	require.Equal(w, 401, w.do("", "POST", "/v1/login", v1.LoginRequest{Token: once.Secret}).status)
	require.Equal(w, 200, w.do("", "POST", "/v1/login", v1.LoginRequest{User: "guest", Password: password}).status)
	made, once = w.token("admin", v1.TokenSpec{User: "guest"}), w.token("admin", v1.TokenSpec{User: "guest", OneTime: true})

	// A member of a project is held by it; a user who goes takes all tokens along.
	w.must(200, "admin", "PATCH", "/v1/projects/blue", `{"spec":{"members":[{"user":"guest","role":"reader"},{"user":"blue-member","role":"project-member"},{"user":"both","role":"project-member"}]}}`)
	w.must(200, "token:"+made.Secret, "GET", "/v1/projects/blue", nil)
	w.refused(409, v1.CodeInUse, "admin", "DELETE", "/v1/users/guest", nil)
	w.must(200, "token:"+made.Secret, "GET", "/v1/whoami", nil)
	w.must(200, "admin", "PATCH", "/v1/projects/blue", `{"spec":{"members":[{"user":"blue-member","role":"project-member"},{"user":"both","role":"project-member"}]}}`)
	w.refused(404, v1.CodeNotFound, "token:"+made.Secret, "GET", "/v1/projects/blue", nil)
	w.must(204, "admin", "DELETE", "/v1/users/guest", nil)
	w.refused(401, v1.CodeUnauthenticated, "token:"+made.Secret, "GET", "/v1/whoami", nil)
	require.Equal(w, 401, w.do("", "POST", "/v1/login", v1.LoginRequest{Token: once.Secret}).status)
	w.make("admin", "/v1/users", "guest", "", v1.UserSpec{}) // the name is free, and is somebody else
	w.refused(401, v1.CodeUnauthenticated, "token:"+made.Secret, "GET", "/v1/whoami", nil)
	require.Equal(w, 401, w.do("", "POST", "/v1/login", v1.LoginRequest{User: "guest", Password: password}).status)
}

func identityLastAdmin(w *world) {
	for _, body := range []string{`{"spec":{"disabled":true}}`, `{"spec":{"platformRole":null}}`, `{"spec":{"platformRole":"reader"}}`} {
		problem := w.refused(409, v1.CodeConflict, "admin", "PATCH", "/v1/users/admin", body)
		require.Contains(w, problem.Detail, "last platform administrator")
	}
	w.refused(409, v1.CodeConflict, "admin", "DELETE", "/v1/users/admin", nil)
	w.make("admin", "/v1/users", "sleeper", "", v1.UserSpec{PlatformRole: v1.RolePlatformAdmin, Disabled: true})
	w.refused(409, v1.CodeConflict, "admin", "DELETE", "/v1/users/admin", nil) // one who cannot log in does not count
	w.must(204, "admin", "DELETE", "/v1/users/sleeper", nil)

	// Two who remove each other at the same moment: one of them stays. Round after round, since it is a matter of moments.
	for range 5 {
		w.make("admin", "/v1/users", "second", "", v1.UserSpec{PlatformRole: v1.RolePlatformAdmin})
		second := w.token("admin", v1.TokenSpec{User: "second"})
		var all sync.WaitGroup
		var removed [2]int
		all.Go(func() {
			removed[0] = w.do("admin", "PATCH", "/v1/users/second", `{"spec":{"platformRole":null}}`).status
		})
		all.Go(func() {
			removed[1] = w.do("token:"+second.Secret, "PATCH", "/v1/users/admin", `{"spec":{"platformRole":null}}`).status
		})
		all.Wait()
		remaining := "admin"
		if removed[1] == http.StatusOK {
			remaining = "token:" + second.Secret
			require.NotEqual(w, 200, removed[0])
		}
		w.must(200, remaining, "PATCH", "/v1/users/admin", `{"spec":{"platformRole":"platform-admin"}}`)
		w.must(200, "admin", "PATCH", "/v1/users/second", `{"spec":{"platformRole":null}}`)
		w.must(204, "admin", "DELETE", "/v1/users/second", nil)
	}
}

func identityWhoAmI(w *world) {
	who, err := w.clients["both"].WhoAmI(w.Context())
	require.NoError(w, err)
	require.Equal(w, "both", who.User.Name)
	require.Len(w, who.Projects, 2)
	for _, access := range who.Projects {
		require.Equal(w, v1.RoleProjectMember, access.Role)
	}
}
