package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// ErrUnavailable: the keeper of an image is not known (yet), or does not serve it now. Trying again may help.
var ErrUnavailable = errors.New("the image's keeper does not answer")

// Image opens the uploaded bytes of an image at the controller that keeps them. size is -1 when the keeper does not say. The caller closes the
// reader, and ctx ends it. Errors: ErrUnavailable, or a problem (CodeNotFound) when the keeper does not have it.
func (l *Link) Image(ctx context.Context, keeper, image string) (data io.ReadCloser, size int64, err error) {
	address := ""
	for _, each := range l.options.Ledger.Controllers() {
		if each.ID == keeper {
			address = each.Address
		}
	}
	if address == "" {
		return nil, 0, fmt.Errorf("%w: controller %.80q is not among those that are known", ErrUnavailable, keeper)
	}
	response, err := l.send(ctx, http.MethodGet, address, hostv1.PathImages+url.PathEscape(image), nil)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	switch response.StatusCode {
	case http.StatusOK:
		return response.Body, response.ContentLength, nil
	case http.StatusNotFound:
		err = v1.NewProblem(v1.CodeNotFound, "controller %s does not have the uploaded bytes of image %s", keeper, image).WithNext("Upload the image again.")
	default:
		err = fmt.Errorf("%w: status %d", ErrUnavailable, response.StatusCode)
	}
	return nil, 0, errors.Join(err, response.Body.Close())
}
