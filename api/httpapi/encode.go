package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// This file turns what the service answers into bodies.

// changed answers a change: 202 while an operation carries it out, done otherwise.
func (a *api) changed(result Result, done int) (*answer, error) {
	given := &answer{status: done, operation: result.Operation, replayed: result.Replayed}
	if result.Operation != "" {
		given.status = http.StatusAccepted
	}
	if result.Object == nil {
		body, err := json.Marshal(map[string]string{"operation": result.Operation})
		given.body = body
		return given, err
	}
	given.version = result.Object.ObjectMeta().Version
	var err error
	given.body, err = encodeObject(result.Object, result.Operation)
	return given, err
}

// encodeObject makes the JSON of an object, with the link to the operation that works on it for the sake of this request.
func encodeObject(object v1.Object, operation string) ([]byte, error) {
	// The service shows objects without their secrets; here they are cut off once more, since there is no second chance.
	switch secret := object.(type) {
	case *v1.User:
		if secret.Secret != (v1.UserSecret{}) {
			copied := *secret
			copied.Secret = v1.UserSecret{}
			object = &copied
		}
	case *v1.Token:
		if secret.Hash != "" {
			copied := *secret
			copied.Hash = ""
			object = &copied
		}
	case nil:
		return nil, errors.New("the service answered no object")
	}
	body, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	if len(body) < 2 || body[len(body)-1] != '}' {
		return nil, fmt.Errorf("the service answered a %T without content", object)
	}
	if operation == "" {
		return body, nil
	}
	link, err := json.Marshal(operation)
	if err != nil {
		return nil, err
	}
	body = append(body[:len(body)-1], `,"operation":`...)
	return append(append(body, link...), '}'), nil
}

func encode(status int, value any) (*answer, error) {
	body, err := json.Marshal(value)
	return &answer{status: status, body: body}, err
}

func encodeAnswer(status int, index uint64, value map[string]any, next string) (*answer, error) {
	if next != "" {
		value["next"] = next
	}
	given, err := encode(status, value)
	given.index = index
	return given, err
}
