package v1

import (
	"encoding/json"
	"reflect"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNounsRoundTrip: what is written as JSON is read back the same, field by field.
func TestNounsRoundTrip(t *testing.T) {
	for _, definition := range Kinds {
		t.Run(string(definition.Kind), func(t *testing.T) {
			for name, object := range map[string]Object{"filled": filled(definition), "zero": definition.New(), "example": example(t, definition.Kind)} {
				data, err := json.Marshal(object)
				require.NoError(t, err)
				again := definition.New()
				require.NoError(t, json.Unmarshal(data, again))
				if name != "zero" { // a RawMessage that is nil comes back as null
					if task, ok := again.(*Task); ok && name == "example" {
						task.Spec.Args = nil
					}
					require.Equal(t, object, again)
				}
				dataAgain, err := json.Marshal(again)
				require.NoError(t, err)
				require.Equal(t, string(data), string(dataAgain))
			}
		})
	}
}

// TestCloneIsDeep: objects in the state are shared by everybody; whoever clones one may do with the clone what they like.
func TestCloneIsDeep(t *testing.T) {
	for _, definition := range Kinds {
		t.Run(string(definition.Kind), func(t *testing.T) {
			original, same := filled(definition), filled(definition)
			method := reflect.ValueOf(original).MethodByName("Clone")
			require.True(t, method.IsValid(), "%s has no Clone", definition.Kind)
			results := method.Call(nil)
			require.Len(t, results, 1)
			require.Equal(t, reflect.TypeOf(original), results[0].Type())
			require.Equal(t, original, results[0].Interface(), "a clone is equal")
			scribble(results[0].Elem())
			require.Equal(t, same, original, "the original was changed through its clone")

			empty := definition.New()
			require.Equal(t, empty, reflect.ValueOf(empty).MethodByName("Clone").Call(nil)[0].Interface(), "a clone invents nothing")
		})
	}
}

// TestShowLeavesTheOriginal: the views are made of shared objects.
func TestShowLeavesTheOriginal(t *testing.T) {
	related := Related{Instance: example(t, KindInstance).(*Instance), Host: example(t, KindHost).(*Host), HostUsage: Usage{1, 2, 3}, Usage: ProjectUsage{VMs: 4}, AttachedTo: testID(9)}
	for _, definition := range Kinds {
		original, same := filled(definition), filled(definition)
		method := reflect.ValueOf(original).MethodByName("Show")
		if !method.IsValid() {
			continue
		}
		shown := method.Call([]reflect.Value{reflect.ValueOf(related)})[0]
		require.Equal(t, same, original, "%s", definition.Kind)
		scribble(shown.Elem())
		require.Equal(t, same, original, "%s", definition.Kind)
	}
}

// TestSecretsAreNotShown: whatever is shown holds no hash and nothing that the guest alone is told.
func TestSecretsAreNotShown(t *testing.T) {
	user := &User{Secret: UserSecret{PasswordHash: "$argon2id$hidden"}}
	require.True(t, user.Show(Related{}).Status.HasPassword)
	token := &Token{Hash: "hidden"}
	instance := &Instance{Spec: InstanceSpec{Seed: Seed{UserData: "hidden", SSHKeys: []string{"hidden"}}}}
	vm := &VM{Spec: VMSpec{UserData: "hidden", SSHKeys: []string{"hidden"}}}
	for _, shown := range []Object{user.Show(Related{}), token.Show(Related{}), instance.Show(Related{}), vm.Redact()} {
		data, err := json.Marshal(shown)
		require.NoError(t, err)
		require.NotContains(t, string(data), "hidden")
	}
}

// TestKinds: the table of kinds says of each noun what its type says.
func TestKinds(t *testing.T) {
	kinds, paths := map[Kind]bool{}, map[string]bool{}
	for _, definition := range Kinds {
		require.False(t, kinds[definition.Kind], definition.Kind)
		require.False(t, paths[definition.Path], definition.Path)
		kinds[definition.Kind], paths[definition.Path] = true, true
		require.Regexp(t, regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`), definition.Path)

		object := definition.New()
		require.Equal(t, definition.Kind, object.ObjectKind())
		require.Equal(t, string(definition.Kind), reflect.TypeOf(object).Elem().Name())
		require.NotSame(t, object, definition.New())
		require.Same(t, reflect.ValueOf(object).Elem().FieldByName("Meta").Addr().Interface(), object.ObjectMeta())
		found, err := Define(definition.Kind)
		require.NoError(t, err)
		require.Equal(t, definition.Path, found.Path)

		scoped := example(t, definition.Kind)
		scoped.ObjectMeta().Project = ""
		switch definition.Kind {
		case KindOperation, KindTask: // those of the platform's own objects belong to no project
			require.NoError(t, scoped.Validate())
		default:
			require.Equal(t, definition.Scoped, scoped.Validate() != nil, "%s without a project", definition.Kind)
		}
		if !definition.Scoped && definition.Kind != KindReceipt {
			scoped.ObjectMeta().Project = testID(2)
			require.Error(t, scoped.Validate(), "%s in a project", definition.Kind)
		}
	}
	for _, kind := range []Kind{"", "vm", "Event", "event", "VM\x00", "host-usage"} {
		_, err := Define(kind)
		require.Error(t, err, kind)
	}
}

// TestFieldsAreNamedAndExplained: the OpenAPI document is made of these tags.
func TestFieldsAreNamedAndExplained(t *testing.T) {
	json := regexp.MustCompile(`^[a-z][a-zA-Z0-9]*(,(omitempty|omitzero))?$`)
	seen := map[reflect.Type]bool{}
	var visit func(reflect.Type)
	visit = func(of reflect.Type) {
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice || of.Kind() == reflect.Map {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct || of.PkgPath() != reflect.TypeFor[Meta]().PkgPath() || seen[of] {
			return
		}
		seen[of] = true
		for i := range of.NumField() {
			field := of.Field(i)
			visit(field.Type)
			if !field.Anonymous {
				require.Regexp(t, json, field.Tag.Get("json"), "%s.%s", of.Name(), field.Name)
			}
		}
	}
	for _, definition := range Kinds {
		visit(reflect.TypeOf(definition.New()))
	}
	require.Greater(t, len(seen), 30)
}
