package httpapi

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func (a *api) addIdentity() {
	add(a, huma.Operation{
		OperationID: "login", Method: http.MethodPost, Path: "/v1/login", Tags: []string{"identity"}, Summary: "Get a token",
		Description: "For a one-time token, or for a name and a password. Refused attempts slow the address down.",
		Responses:   objectResponse("The new token", a.schema(reflect.TypeFor[v1.LoginResponse]())),
	}, route{public: true, body: bodyJSON}, func(ctx context.Context, in *struct{ Body v1.LoginRequest }) (*answer, error) {
		response, err := a.service.Login(ctx, in.Body)
		if err != nil {
			return nil, err
		}
		return encode(http.StatusOK, response)
	})
	add(a, huma.Operation{
		OperationID: "logout", Method: http.MethodPost, Path: "/v1/logout", Tags: []string{"identity"}, Summary: "End the token in use",
		Responses: noContent("The token is no longer valid"),
	}, route{body: bodyJSONOptional}, func(ctx context.Context, _ *struct{ Body *none }) (*answer, error) {
		return &answer{status: http.StatusNoContent}, a.service.Logout(ctx, requestOf(ctx).caller)
	})
	add(a, huma.Operation{
		OperationID: "whoami", Method: http.MethodGet, Path: "/v1/whoami", Tags: []string{"identity"}, Summary: "Who the caller is",
		Responses: objectResponse("The caller", a.schema(reflect.TypeFor[v1.Identity]())),
	}, route{}, func(ctx context.Context, _ *struct{}) (*answer, error) {
		identity, err := a.service.WhoAmI(ctx, requestOf(ctx).caller)
		if err != nil {
			return nil, err
		}
		return encode(http.StatusOK, identity)
	})
	add(a, huma.Operation{
		OperationID: "set-password", Method: http.MethodPost, Path: "/v1/users/{id}/password", Tags: []string{"users"}, Summary: "Set a user's password",
		Responses: noContent("The password is set"),
	}, route{body: bodyJSON, ids: userIDs, noun: "user"}, func(ctx context.Context, in *struct {
		ID   string `path:"id" doc:"Id, or name" maxLength:"63"`
		Body v1.PasswordRequest
	}) (*answer, error) {
		return &answer{status: http.StatusNoContent}, a.service.SetPassword(ctx, requestOf(ctx).caller, in.ID, in.Body)
	})
}

// createToken answers the one time that a token's text is shown. A repetition makes another token, so there is no Idempotency-Key to honour:
// keeping the answer would mean keeping the text.
func createToken(ctx context.Context, a *api, caller Caller, draft Draft) (*answer, error) {
	made, err := a.service.CreateToken(ctx, caller, draft)
	if err != nil {
		return nil, err
	}
	made.Token.Hash = ""
	given, err := encode(http.StatusCreated, made)
	given.location, given.version = "/v1/tokens/"+made.Token.ID, made.Token.Version
	return given, err
}
