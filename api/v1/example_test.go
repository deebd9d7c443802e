package v1

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testID(n int) string { return fmt.Sprintf("01890a5d-ac96-774b-bcce-%012x", n) }

// example is a valid object of a kind, with as little as it needs.
func example(t testing.TB, kind Kind) Object {
	t.Helper()
	definition, err := Define(kind)
	require.NoError(t, err)
	object := definition.New()
	meta := object.ObjectMeta()
	meta.ID, meta.Name = testID(1), "example"
	if definition.Scoped {
		meta.Project = testID(2)
	}
	switch o := object.(type) {
	case *Cluster:
		o.Spec.MACPrefix = "52:54:00"
	case *Host:
		o.Spec = HostSpec{Schedulable: true, SecurityLevel: 3, CPUOvercommit: 4, StorageOvercommit: 2}
	case *Token:
		at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		o.Spec.ExpiresAt, o.Hash, o.Status.UserID = &at, strings.Repeat("a", 64), testID(3)
	case *Flavor:
		o.Spec = FlavorSpec{VCPUs: 1, MemoryMiB: 1024, DiskGiB: 10}
	case *Image:
		o.Spec.Format = FormatQCOW2
	case *PlacementGroup:
		o.Spec.Policy = AntiAffinityHard
	case *VM:
		o.Spec.Flavor, o.Spec.Image = "small", "debian-12"
	case *Volume:
		o.Spec.SizeGiB = 1
	case *Snapshot:
		o.Spec.Volume = "data"
	case *Instance:
		o.Spec = InstanceSpec{VM: testID(4), Host: testID(5), VCPUs: 1, MemoryMiB: 1024}
		o.Desired.State, o.Observed.State = DesiredHold, InstancePending
	case *Attachment:
		o.Spec = AttachmentSpec{Volume: testID(6), Instance: testID(7), VM: testID(4), Host: testID(5)}
	case *Task:
		o.Spec = TaskSpec{Operation: testID(8), Host: testID(5), Type: TaskVolumeCreate}
		o.Status.State = TaskPending
	case *Receipt:
		o.Key = "key"
	}
	require.NoError(t, object.Validate(), "the example of %s", kind)
	return object
}

// fill sets everything in a value, pointers, lists and maps included, to something that is not zero; values differ from each other.
func fill(v reflect.Value, count *int) {
	*count++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2025, 6, 7, 8, 9, *count%60, *count*1000, time.UTC)))
		return
	case json.RawMessage:
		v.SetBytes([]byte(fmt.Sprintf(`{"value":%d}`, *count)))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), count)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), count)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), count)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, count)
			fill(value, count)
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("text-%d", *count))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*count))
	case reflect.Uint64, reflect.Uint16:
		v.SetUint(uint64(*count))
	case reflect.Float64:
		v.SetFloat(float64(*count) + 0.5)
	default:
		panic("fill does not know " + v.Type().String())
	}
}

// filled is an object with everything set.
func filled(definition Definition) Object {
	object := definition.New()
	count := 0
	fill(reflect.ValueOf(object).Elem(), &count)
	return object
}

// scribble changes everything that can be reached from a value through pointers, lists and maps.
func scribble(v reflect.Value) {
	if _, ok := v.Interface().(time.Time); ok {
		v.Set(reflect.ValueOf(time.Unix(0, 0)))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			scribble(v.Field(i))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			scribble(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			scribble(v.Index(i))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			v.SetMapIndex(key, reflect.Zero(v.Type().Elem()))
		}
	case reflect.String:
		v.SetString("scribbled")
	case reflect.Bool:
		v.SetBool(false)
	case reflect.Int, reflect.Int64:
		v.SetInt(-1)
	case reflect.Uint8, reflect.Uint64, reflect.Uint16:
		v.SetUint(7)
	case reflect.Float64:
		v.SetFloat(-1)
	default:
		panic("scribble does not know " + v.Type().String())
	}
}
