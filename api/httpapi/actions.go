package httpapi

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// action is a line of the table in routes.go: what is done to an object and is no change of its spec. Args is its body.
type action[O v1.Object, Args any] struct {
	kind   v1.Kind
	title  string // of the noun
	verb   string
	about  string
	noArgs bool // hands nil to the service
}

// none is the body of an action without arguments.
type none struct{}

type actionInput[Args any] struct {
	PathID
	Key  string `header:"Idempotency-Key" doc:"Makes a repetition harmless: the first answer is given again" maxLength:"255"`
	Body *Args
}

func addAction[O v1.Object, Args any](a *api, line action[O, Args]) {
	definition, err := v1.Define(line.kind)
	if err != nil {
		panic(err) // a wrong line in routes.go
	}
	operation := huma.Operation{
		OperationID: line.verb + "-" + singularOf(definition), Method: http.MethodPost, Path: "/v1/" + definition.Path + "/{id}/" + line.verb,
		Tags: []string{definition.Path}, Summary: line.about,
	}
	operation.Responses = a.changeAnswers(http.StatusOK, a.schema(reflect.TypeFor[O]()))
	about := route{ids: plainIDs, noun: line.title, body: bodyJSONOptional}
	add(a, operation, about, func(ctx context.Context, in *actionInput[Args]) (*answer, error) {
		key, err := parseKey(ctx, in.Key)
		if err != nil {
			return nil, err
		}
		var args any
		if !line.noArgs {
			value := new(Args)
			if in.Body != nil {
				value = in.Body
			}
			args = *value
		}
		result, err := a.service.Act(ctx, requestOf(ctx).caller, Ref{Kind: line.kind, ID: in.ID, Project: in.Project}, line.verb, args, key)
		if err != nil {
			return nil, err
		}
		return a.changed(result, http.StatusOK)
	})
}
