package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// patchAttempts is how often a patch without If-Match is applied to the newest version before the client is told that others were faster.
const patchAttempts = 3

// addPatch makes PATCH of Get, an RFC 7396 merge and Replace. Replace is told the version that was merged into, so nothing that happened in
// between is lost. The service refuses the Replace of who saw a redacted object.
func (n *registered[O, S]) addPatch() {
	operation := n.operation(http.MethodPatch, "/{id}", "update-"+n.singular, "Change a part of "+withArticle(n.title))
	operation.Description = "An RFC 7396 merge patch of {name, labels, spec}: what is left out stays, null removes."
	operation.Responses = n.changeAnswers(http.StatusOK, n.full)
	document := &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: false,
		Properties: map[string]*huma.Schema{
			"name":   {Type: huma.TypeString, Description: "New name"},
			"labels": {Type: huma.TypeObject, AdditionalProperties: &huma.Schema{Type: huma.TypeString, Nullable: true}, Description: "Labels to set, or to remove (null)"},
			"spec":   {Type: huma.TypeObject, AdditionalProperties: true, Description: "The fields to change, as in the whole spec"},
		},
	}
	operation.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/merge-patch+json": {Schema: document}, "application/json": {Schema: document},
	}}
	add(n.api, operation, n.oneRoute(bodyPatch), n.patch)
}

func (n *registered[O, S]) patch(ctx context.Context, in *changeInput) (*answer, error) {
	wanted, err := parseMatch(in.Match)
	if err != nil {
		return nil, err
	}
	caller := requestOf(ctx).caller
	change, err := decodeNumbers(requestOf(ctx).raw)
	if err != nil {
		return nil, malformed("The body cannot be read.")
	}
	if problem := n.unknownFields(requestOf(ctx).raw); problem != nil {
		return nil, problem
	}
	for attempt := 1; ; attempt++ {
		object, err := n.service.Get(ctx, caller, n.ref(in.PathID))
		if err != nil {
			return nil, err
		}
		current, err := n.typed(object)
		if err != nil {
			return nil, err
		}
		version := current.ObjectMeta().Version
		if wanted != 0 && wanted != version {
			// Handing the wanted version on would not do: if it came into being just now, the merge would rest on the one before.
			return nil, notMatched()
		}
		merged, err := n.merge(current, change)
		if err != nil {
			return nil, err
		}
		// By id from here on: the patch may be a change of name, and a name may pass to another object in between.
		result, err := n.service.Replace(ctx, caller, Ref{Kind: n.kind, ID: current.ObjectMeta().ID}, merged.draft(), version)
		if err != nil {
			if wanted == 0 && attempt < patchAttempts && v1.CodeOf(err) == v1.CodeNotMatched {
				continue
			}
			return nil, err
		}
		return n.changed(result, http.StatusOK)
	}
}

// merge applies the change to the writable part of the object, and checks the outcome like any body.
func (n *registered[O, S]) merge(current O, change any) (*writable[S], error) {
	before := n.writableOf(current)
	encoded, err := json.Marshal(before)
	if err != nil {
		return nil, err
	}
	base, err := decodeNumbers(encoded)
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(mergePatch(base, change))
	if err != nil {
		return nil, err
	}
	merged := new(writable[S])
	if err := n.decode(after, merged); err != nil {
		return nil, err
	}
	return merged, nil
}

// unknownFields looks for fields that the merged document would not show: a null for a field that does not exist.
func (n *registered[O, S]) unknownFields(raw []byte) error {
	var plain any
	if err := unmarshal(raw, &plain); err != nil {
		return malformed("The body cannot be read.")
	}
	result := &huma.ValidateResult{}
	huma.Validate(n.huma.OpenAPI().Components.Schemas, n.draft, huma.NewPathBuffer(nil, 0), huma.ModeWriteToServer, plain, result)
	var unknown []error
	for _, finding := range result.Errors {
		var detailer huma.ErrorDetailer
		if errors.As(finding, &detailer) && detailer.ErrorDetail().Message == validation.MsgUnexpectedProperty {
			unknown = append(unknown, finding)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return invalid(fieldErrors(unknown)...)
}
