package httpapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// TestClient: the Go client and this surface mean the same by every request.
func TestClient(t *testing.T) {
	w := start(t, Limits{KeepAlive: 50 * time.Millisecond, RatePerToken: -1, RatePerAddress: -1})
	server := w.tls()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	connect := func(secret string) *client.Client {
		c, err := client.New(client.Options{Endpoints: []string{server.URL}, Token: secret, Project: "tax", CAPool: pool(server), RetryFor: -1})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		return c
	}
	stranger, admin, member := connect(""), connect(adminSecret), connect(memberSecret)

	login, err := stranger.Login(ctx, v1.LoginRequest{User: "member", Password: "correct horse battery"})
	require.NoError(t, err)
	require.Equal(t, memberSecret, login.Secret)
	_, err = stranger.WhoAmI(ctx)
	require.Equal(t, v1.CodeUnauthenticated, v1.CodeOf(err))
	identity, err := member.WhoAmI(ctx)
	require.NoError(t, err)
	require.Equal(t, "member", identity.User.Name)
	require.NoError(t, member.SetPassword(ctx, "member", v1.PasswordRequest{Password: "a long enough one"}))
	made, err := member.CreateToken(ctx, client.Draft{Name: "ci", Spec: v1.TokenSpec{}})
	require.NoError(t, err)
	require.NotEmpty(t, made.Secret)
	status, err := member.ClusterStatus(ctx)
	require.NoError(t, err)
	require.True(t, status.Healthy)

	flavor, err := client.Create[v1.Flavor](ctx, admin, client.Draft{Name: "small", Spec: v1.FlavorSpec{VCPUs: 1, MemoryMiB: 512, DiskGiB: 10}})
	require.NoError(t, err)
	require.Empty(t, flavor.Operation)
	draft := client.Draft{Name: "web", Project: "tax", Labels: map[string]string{"a": "b"}, Spec: v1.VMSpec{Flavor: "small", Image: "tiny"}}
	placement, err := member.ExplainVM(ctx, draft)
	require.NoError(t, err)
	require.True(t, placement.Placed)
	vm, err := client.Create[v1.VM](ctx, member, draft)
	require.NoError(t, err)
	require.NotEmpty(t, vm.Operation)
	ref := client.Ref{ID: "web"}
	got, err := client.Get[v1.VM](ctx, member, ref)
	require.NoError(t, err)
	require.Equal(t, vm.Object.ID, got.ID)
	page, err := client.List[v1.VM](ctx, member, client.Query{Name: "web", Labels: map[string]string{"a": "b"}, Limit: 5})
	require.NoError(t, err)
	require.Len(t, page.Items, 1)
	spec, version, err := client.GetSpec(ctx, member, v1.KindVM, ref)
	require.NoError(t, err)
	require.Equal(t, got.Version, version)
	_, err = client.Update[v1.VM](ctx, member, ref, spec, version)
	require.NoError(t, err)
	_, err = client.Update[v1.VM](ctx, member, ref, spec, version)
	require.Equal(t, v1.CodeNotMatched, v1.CodeOf(err))
	patched, err := client.Patch[v1.VM](ctx, member, ref, map[string]any{"spec": map[string]any{"power": "Stopped"}}, 0)
	require.NoError(t, err)
	require.Equal(t, v1.PowerStopped, patched.Object.Spec.Power)
	_, err = client.Patch[v1.VM](ctx, member, ref, map[string]any{"spec": map[string]any{"powr": "Stopped"}}, 0)
	var problem *v1.Problem
	require.True(t, errors.As(err, &problem))
	require.Equal(t, "spec.powr", problem.Field)
	acted, err := client.Act[v1.VM](ctx, member, ref, "stop", v1.StopRequest{Force: true})
	require.NoError(t, err)
	require.NotEmpty(t, acted.Operation)
	_, err = client.Act[v1.VM](ctx, member, ref, "start", nil)
	require.NoError(t, err)

	time.AfterFunc(100*time.Millisecond, func() {
		w.fake.mu.Lock()
		defer w.fake.mu.Unlock()
		done := w.fake.objects[v1.KindOperation][vm.Operation].(*v1.Operation).Clone()
		done.Status.State = v1.OperationSucceeded
		w.fake.put(done, v1.ActionUpdated)
	})
	operation, err := member.WaitOperation(ctx, vm.Operation, func(*v1.Operation) {})
	require.NoError(t, err)
	require.Equal(t, v1.OperationSucceeded, operation.Status.State)

	image, err := client.Create[v1.Image](ctx, member, client.Draft{Name: "tiny", Project: "tax", Spec: v1.ImageSpec{Format: v1.FormatRaw}})
	require.NoError(t, err)
	var received bytes.Buffer
	w.fake.uploaded = func(size int64, data io.Reader) error { _, err := io.Copy(&received, data); return err }
	data := bytes.Repeat([]byte("disk"), 1<<16)
	_, err = member.Upload(ctx, client.Ref{ID: image.Object.ID}, bytes.NewReader(data), int64(len(data)), func(int64) {})
	require.NoError(t, err)
	require.Equal(t, data, received.Bytes())

	log, err := member.Log(ctx, ref, client.LogOptions{Tail: 5})
	require.NoError(t, err)
	text, err := io.ReadAll(log)
	require.NoError(t, err)
	require.NoError(t, log.Close())
	require.Equal(t, "Linux version 6.1\n", string(text))

	ours, guest := net.Pipe()
	w.fake.openConsole = func() (io.ReadWriteCloser, error) { return ours, nil }
	console, err := member.Console(ctx, ref)
	require.NoError(t, err)
	go func() { _, _ = guest.Write([]byte("login: ")) }()
	buffer := make([]byte, 7)
	_, err = io.ReadFull(console, buffer)
	require.NoError(t, err)
	require.Equal(t, "login: ", string(buffer))
	require.NoError(t, guest.Close())
	_, err = console.Read(buffer)
	require.True(t, client.ConsoleClosed(err), "%v", err)

	enough := errors.New("enough")
	var heard []string
	err = member.Events(ctx, client.EventsQuery{After: "0"}, func(event v1.Event) error {
		if heard = append(heard, string(event.Object.Kind)); len(heard) == 5 {
			return enough
		}
		return nil
	})
	require.ErrorIs(t, err, enough)
	require.Equal(t, []string{"User", "Token", "User", "Token", "Project"}, heard)

	deleted, err := client.Delete[v1.VM](ctx, member, ref, 0)
	require.NoError(t, err)
	require.NotEmpty(t, deleted.Operation)
	gone, err := client.Delete[v1.Flavor](ctx, admin, client.Ref{ID: "small"}, 0)
	require.NoError(t, err)
	require.Nil(t, gone.Object)
	require.NoError(t, member.Logout(ctx))
	_, err = member.WhoAmI(ctx)
	require.Equal(t, v1.CodeUnauthenticated, v1.CodeOf(err))
}
