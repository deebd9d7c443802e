package ctl

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func (a *app) image() noun[v1.Image, *v1.Image] {
	return noun[v1.Image, *v1.Image]{app: a, key: "image", columns: []column[v1.Image]{
		phaseColumn(func(o *v1.Image) string { return string(o.Status.Phase) }),
		textColumn("format", ifRoom, func(o *v1.Image) string { return o.Spec.Format }),
		{key: "size", value: func(o *v1.Image) string { return number(o.Status.SizeBytes) }, human: func(_ *app, o *v1.Image) string { return bytesText(o.Status.SizeBytes) }},
		{key: "virtual-size", level: ifRoom, value: func(o *v1.Image) string { return number(o.Status.VirtualSize) }, human: func(_ *app, o *v1.Image) string { return bytesText(o.Status.VirtualSize) }},
		yesNo("public", ifRoom, func(o *v1.Image) bool { return o.Spec.Public }),
		textColumn("title", wideOnly, func(o *v1.Image) string { return o.Spec.Title }),
		textColumn("sha256", wideOnly, func(o *v1.Image) string { return first(o.Status.SHA256, o.Spec.SHA256) }),
		operationColumn(func(o *v1.Image) string { return o.Status.Operation }),
	}}
}

func (a *app) images() *cobra.Command {
	n := a.image()
	flags := func(s *specFlags) {
		s.text("title", "title")
		s.boolean("public", "public")
	}
	group := a.group("image", "image", "images")
	group.AddCommand(n.list(), n.show(), a.imageCreate(n, flags), a.imageUpload(n), n.update(flags), n.delete())
	return group
}

// imageCreate makes the image and uploads its bytes: the digest goes with the request, so that what arrives is what was sent.
func (a *app) imageCreate(n noun[v1.Image, *v1.Image], setup func(*specFlags)) *cobra.Command {
	path, format := "", ""
	return n.create(creation{
		required: []string{"file"},
		setup: func(s *specFlags) {
			setup(s)
			s.command.Flags().StringVar(&path, "file", "", s.usage("file"))
			_ = s.command.RegisterFlagCompletionFunc("file", cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault))
			s.command.Flags().StringVar(&format, "format", "", s.usage("format"))
			a.complete(s.command, "format", func(context.Context) []string { return []string{v1.FormatRaw, v1.FormatQCOW2} })
		},
		before: func(ctx context.Context, draft *client.Draft) (bool, error) {
			chosen, err := a.formatOf(path, format)
			if err != nil {
				return false, err
			}
			file, size, err := a.openImage(path)
			if err != nil {
				return false, err
			}
			defer file.Close()
			digest, err := a.digest(ctx, file, size)
			if err != nil {
				return false, err
			}
			spec := draft.Spec.(map[string]any)
			spec["format"], spec["sha256"] = chosen, digest
			c, err := a.client()
			if err != nil {
				return false, err
			}
			made, err := client.Create[v1.Image](ctx, c, *draft)
			if err != nil {
				return false, err
			}
			return true, a.upload(ctx, n, made.Object.ID, draft.Name, file, size, path)
		},
	})
}

// imageUpload sends the bytes of an image whose upload did not come to its end.
func (a *app) imageUpload(n noun[v1.Image, *v1.Image]) *cobra.Command {
	path := ""
	var command *cobra.Command
	command = a.command(verb{key: "image.upload", name: "upload", args: []string{"name"}, names: n.candidates(), run: func(ctx context.Context, args []string) error {
		if err := a.require(command, []string{"file"}); err != nil {
			return err
		}
		file, size, err := a.openImage(path)
		if err != nil {
			return err
		}
		defer file.Close()
		return a.upload(ctx, n, args[0], args[0], file, size, path)
	}})
	command.Flags().StringVar(&path, "file", "", a.T("flag.image.file"))
	_ = command.RegisterFlagCompletionFunc("file", cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault))
	a.waitFlags(command)
	return command
}

func (a *app) upload(ctx context.Context, n noun[v1.Image, *v1.Image], ref, name string, file *os.File, size int64, path string) error {
	again := false
	err := n.one(ctx, ref, func(ctx context.Context, c *client.Client, ref string) (client.Result[v1.Image], error) {
		line := a.startLine()
		defer line.stop()
		result, err := c.Upload(ctx, client.Ref{ID: ref}, file, size, func(sent int64) {
			line.show(a.T("image.uploading", "Name", name, "Sent", bytesText(sent), "Size", bytesText(size), "Percent", percent(sent, size)))
		})
		again = err != nil
		return result, err
	})
	if again {
		a.notice(a.T("image.again", "Name", name, "File", path))
	}
	return err
}

// formatOf never looks into the file: a guest could have written a header into a raw disk that makes it look like something else.
func (a *app) formatOf(path, given string) (string, error) {
	if given != "" {
		if given != v1.FormatRaw && given != v1.FormatQCOW2 {
			return "", a.usage("error.format", "Value", given)
		}
		return given, nil
	}
	switch strings.ToLower(filepath.Ext(path)) {
	case ".qcow2":
		return v1.FormatQCOW2, nil
	case ".raw":
		return v1.FormatRaw, nil
	}
	return "", a.usage("error.format.unclear", "File", path)
}

func (a *app) openImage(path string) (*os.File, int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, a.failure("error.file", "File", path, "Cause", err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New(a.T("error.file.irregular"))
	}
	if err != nil {
		file.Close()
		return nil, 0, a.failure("error.file", "File", path, "Cause", err)
	}
	if info.Size() == 0 {
		file.Close()
		return nil, 0, a.usage("error.file.empty", "File", path)
	}
	return file, info.Size(), nil
}

func (a *app) digest(ctx context.Context, file *os.File, size int64) (string, error) {
	line := a.startLine()
	defer line.stop()
	sum, buffer, done := sha256.New(), make([]byte, 1<<20), int64(0)
	reader := io.NewSectionReader(file, 0, size)
	for {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		n, err := reader.Read(buffer)
		_, _ = sum.Write(buffer[:n]) // a hash never fails
		done += int64(n)
		line.show(a.T("image.digest", "File", filepath.Base(file.Name()), "Percent", percent(done, size)))
		if err == io.EOF {
			return hex.EncodeToString(sum.Sum(nil)), nil
		}
		if err != nil {
			return "", a.failure("error.file", "File", file.Name(), "Cause", err)
		}
	}
}

func percent(part, whole int64) string {
	if whole <= 0 {
		return "0"
	}
	return fmt.Sprintf("%.0f", float64(part)/float64(whole)*100)
}
