package httpapi

import (
	"net/http"

	"github.com/gin-gonic/gin"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// forward has the leader answer. The body is streamed, within the same bounds as here.
func (a *api) forward(c *gin.Context, request *request) {
	c.Abort()
	if request.peer {
		a.refuse(c, v1.NewProblem(v1.CodeUnavailable, "The leader changed while the request was on its way; nothing was done.").WithNext("Send the request again."))
		return
	}
	if err := a.boundBody(c, request); err != nil {
		a.refuse(c, err)
		return
	}
	request.forwarded = true
	header := c.Writer.Header()
	for _, name := range standardHeaders { // the leader sets them
		header.Del(name)
	}
	c.Request.Header.Set(HeaderRequestID, request.id)
	c.Request.Header.Set(HeaderClientAddress, request.address.String())
	body, _ := c.Request.Body.(*boundedBody)
	a.service.Forward(&forwardWriter{ResponseWriter: c.Writer, body: body}, c.Request)
}

// forwardWriter knows better than a broken connection to the leader when it was the client's body that broke: then nothing was done, and the
// client is told what was wrong with it.
type forwardWriter struct {
	gin.ResponseWriter
	body     *boundedBody // nil without one
	replaced bool
}

func (w *forwardWriter) WriteHeader(status int) {
	if w.replaced {
		return
	}
	if w.body != nil && status >= http.StatusInternalServerError {
		if problem := w.body.failed.Load(); problem != nil {
			w.replaced = true
			w.Header().Del("Retry-After")
			w.Header().Set("Connection", "close")
			WriteProblem(w.ResponseWriter, problem)
			return
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *forwardWriter) Write(data []byte) (int, error) {
	if w.replaced {
		return len(data), nil
	}
	return w.ResponseWriter.Write(data)
}

func (w *forwardWriter) WriteString(text string) (int, error) { return w.Write([]byte(text)) }

// Unwrap lets http.ResponseController find the connection.
func (w *forwardWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
