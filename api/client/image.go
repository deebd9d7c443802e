package client

import (
	"context"
	"io"
	"net/http"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Upload sends the bytes of an image that waits for them. data is read from its beginning on every attempt; size is its length in bytes.
// progress, when given, is told the bytes sent of the present attempt.
func (c *Client) Upload(ctx context.Context, ref Ref, data io.ReaderAt, size int64, progress func(sent int64)) (Result[v1.Image], error) {
	path, query := c.refPath("/v1/images", true, ref)
	answer, err := c.do(ctx, call{
		method: http.MethodPut, path: path + "/data", query: query, size: size,
		// A controller that refuses does so before the bytes are sent.
		header: http.Header{"Content-Type": {"application/octet-stream"}, "Expect": {"100-continue"}},
		open: func() io.Reader {
			return &countingReader{Reader: io.NewSectionReader(data, 0, size), told: progress}
		},
	})
	if err == nil {
		return resultOf[v1.Image](answer)
	}
	// The bytes of an attempt whose answer was lost may have arrived: then the image no longer waits for them.
	if code := v1.CodeOf(err); answer.unsure && (code == v1.CodeWrongState || code == v1.CodeBusy) {
		image, getErr := Get[v1.Image](ctx, c, ref)
		if getErr == nil && (image.Status.Phase == v1.ImageImporting || image.Status.Phase == v1.ImageAvailable) {
			return Result[v1.Image]{Object: image, Operation: image.Status.Operation}, nil
		}
	}
	return Result[v1.Image]{}, err
}

type countingReader struct {
	io.Reader
	sent int64
	told func(int64)
}

func (r *countingReader) Read(into []byte) (int, error) {
	n, err := r.Reader.Read(into)
	r.sent += int64(n)
	if r.told != nil && n > 0 {
		r.told(r.sent)
	}
	return n, err
}
