package v1

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// codes reads the constants of type Code from the source, so that none is forgotten.
func codes(t *testing.T) []Code {
	file, err := parser.ParseFile(token.NewFileSet(), "problem.go", nil, 0)
	require.NoError(t, err)
	var found []Code
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Code" {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			found = append(found, Code(text))
		}
		return true
	})
	require.Greater(t, len(found), 20)
	return found
}

func TestEveryCodeHasAStatus(t *testing.T) {
	seen := map[Code]bool{}
	for _, code := range codes(t) {
		require.False(t, seen[code], "%s stands twice", code)
		seen[code] = true
		require.Regexp(t, `^[a-z]+(_[a-z]+)*$`, code)
		status, known := statusOf[code]
		require.True(t, known, "%s has no status", code)
		require.True(t, status >= 400 && status < 600)
		problem := NewProblem(code, "x")
		require.Equal(t, status, problem.Status)
		require.NotEmpty(t, problem.Title)
	}
	require.Len(t, statusOf, len(seen), "a status without a code")
}

func TestProblem(t *testing.T) {
	problem := NewProblem(CodeQuota, "%d of %d", 3, 2).WithField("spec").WithNext("Do %s.", "this").With("limit", 2)
	require.Equal(t, "3 of 2. Do this", problem.Error())
	require.Equal(t, map[string]string{"limit": "2"}, problem.Params)

	require.Equal(t, "100% full", NewProblem(CodeNoSpace, "100% full").Detail, "without arguments nothing is formatted")
	require.Equal(t, "Not found", NewProblem(CodeNotFound, "").Error())
	require.Equal(t, 500, NewProblem("no such code", "x").Status)

	wrapped := fmt.Errorf("outside: %w", problem)
	require.Same(t, problem, AsProblem(wrapped))
	require.Equal(t, CodeQuota, CodeOf(wrapped))
	require.ErrorIs(t, wrapped, NewProblem(CodeQuota, "another"))
	require.NotErrorIs(t, wrapped, NewProblem(CodeInUse, "another"))
	require.NotErrorIs(t, wrapped, io.EOF)
	require.Equal(t, CodeInternal, CodeOf(io.EOF))
	require.Equal(t, "100%!", AsProblem(errors.New("100%!")).Detail)
	require.Nil(t, AsProblem(nil))
	require.Empty(t, CodeOf(nil))

	several := (&Flavor{}).Validate()
	require.Greater(t, len(AsProblem(several).Errors), 2)
	for _, field := range AsProblem(several).Errors {
		require.Contains(t, several.Error(), field.Detail)
	}
}
