package testbed

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Login exchanges the one-time token and returns a client that acts as the first administrator, and its token. It works once.
func (c *Cloud) Login(ctx context.Context) (*client.Client, string, error) {
	anonymous, err := c.Client("")
	if err != nil {
		return nil, "", err
	}
	login, err := anonymous.Login(ctx, v1.LoginRequest{Token: c.Token})
	if err != nil {
		return nil, "", err
	}
	admin, err := c.Client(login.Secret)
	return admin, login.Secret, err
}

// Client returns a client of all controllers with a token.
func (c *Cloud) Client(token string) (*client.Client, error) {
	return client.New(client.Options{Endpoints: c.Endpoints(), Token: token, CAPool: c.authority.pool})
}

// HTTP returns a plain client that trusts the API servers.
func (c *Cloud) HTTP() *http.Client { return &http.Client{Transport: c.Transport()} }

// Furnish makes what VMs need: the project "demo", the flavors "small" and "large", and the image "tiny".
func Furnish(ctx context.Context, admin *client.Client) error {
	if _, err := client.Create[v1.Project](ctx, admin, client.Draft{Name: "demo", Spec: v1.ProjectSpec{Title: "Demonstration"}}); err != nil {
		return fmt.Errorf("project: %w", err)
	}
	for name, spec := range map[string]v1.FlavorSpec{"small": {VCPUs: 1, MemoryMiB: 256, DiskGiB: 1}, "large": {VCPUs: 2, MemoryMiB: 1024, DiskGiB: 4}} {
		if _, err := client.Create[v1.Flavor](ctx, admin, client.Draft{Name: name, Spec: spec}); err != nil {
			return fmt.Errorf("flavor %s: %w", name, err)
		}
	}
	if _, err := client.Create[v1.Image](ctx, admin, client.Draft{Name: "tiny", Project: "demo", Spec: v1.ImageSpec{Format: v1.FormatRaw, Public: true}}); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	data := bytes.Repeat([]byte("coloa..."), 1<<17)
	result, err := admin.Upload(ctx, client.Ref{ID: "tiny", Project: "demo"}, bytes.NewReader(data), int64(len(data)), nil)
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	operation, err := admin.WaitOperation(ctx, result.Operation, nil)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	if operation.Status.State != v1.OperationSucceeded {
		return fmt.Errorf("import: %s: %w", operation.Status.State, operation.Status.Error)
	}
	return nil
}
