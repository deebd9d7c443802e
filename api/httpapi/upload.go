package httpapi

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func (a *api) addUpload() {
	add(a, huma.Operation{
		OperationID: "upload-image-data", Method: http.MethodPut, Path: "/v1/images/{id}/data", Tags: []string{"images"}, Summary: "Upload the bytes of an image",
		Description: "For an image that waits for them. They are checked before anything uses them, and never kept in memory.",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}},
		Responses: a.changeAnswers(http.StatusOK, a.schema(reflect.TypeFor[*v1.Image]())),
	}, route{body: bodyUpload, ids: plainIDs, noun: "image"}, a.upload)
}

func (a *api) upload(ctx context.Context, in *PathID) (*answer, error) {
	request := requestOf(ctx)
	body := request.gin.Request.Body
	if body == nil || request.gin.Request.ContentLength == 0 {
		return nil, malformed("The upload is empty.")
	}
	result, err := a.service.Upload(ctx, request.caller, Ref{Kind: v1.KindImage, ID: in.ID, Project: in.Project}, request.gin.Request.ContentLength, body)
	if err != nil {
		// The service may have wrapped what went wrong with the body in words of its own; the client is better told the first cause.
		if bounded, ok := body.(*boundedBody); ok {
			if problem := bounded.failed.Load(); problem != nil {
				return nil, problem
			}
		}
		return nil, err
	}
	return a.changed(result, http.StatusOK)
}
