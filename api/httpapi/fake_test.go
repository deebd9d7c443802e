package httpapi

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// fake is a Service in memory: enough of a cloud to see what the HTTP layer asks of it.
type fake struct {
	mu       sync.Mutex
	version  uint64
	objects  map[v1.Kind]map[string]v1.Object // by id
	callers  map[string]Caller                // by token text
	receipts map[string]Result
	keys     map[string]string
	changed  chan struct{} // closed and renewed at each change
	events   []v1.Event

	leader     atomic.Bool
	consistent atomic.Pointer[func(context.Context) error]
	forwarded  atomic.Pointer[http.HandlerFunc]
	ready      atomic.Pointer[error]
	caughtUp   atomic.Int64 // calls of Consistent

	beforeReplace func()                    // runs in Replace before it looks
	fail          func(method string) error // the next answer of any method
	uploaded      func(size int64, data io.Reader) error
	openLog       func(ctx context.Context, tail int, follow bool) (io.ReadCloser, error)
	openConsole   func() (io.ReadWriteCloser, error)
	asked         []string // method names, in order
}

const (
	adminSecret  = "admin-secret"
	memberSecret = "member-secret"
	projectID    = "01890a5d-ac96-774b-bcce-000000000001"
)

func newFake() *fake {
	f := &fake{objects: map[v1.Kind]map[string]v1.Object{}, callers: map[string]Caller{}, receipts: map[string]Result{}, keys: map[string]string{}, changed: make(chan struct{})}
	f.leader.Store(true)
	for _, definition := range v1.Kinds {
		f.objects[definition.Kind] = map[string]v1.Object{}
	}
	f.caller("admin", adminSecret, v1.RolePlatformAdmin)
	f.caller("member", memberSecret, "")
	project := &v1.Project{Meta: v1.Meta{ID: projectID, Name: "tax"}}
	f.put(project, v1.ActionCreated)
	return f
}

func (f *fake) id() string { return fmt.Sprintf("01890a5d-ac96-774b-bcce-%012x", f.version+1) }

func (f *fake) caller(name, secret string, role v1.Role) {
	user := &v1.User{Meta: v1.Meta{ID: f.id(), Name: name}, Spec: v1.UserSpec{PlatformRole: role}}
	user.Secret.PasswordHash = "$argon2id$never-shown"
	f.put(user, v1.ActionCreated)
	token := &v1.Token{Meta: v1.Meta{ID: f.id(), Name: name}, Hash: strings.Repeat("a", 64), Status: v1.TokenStatus{UserID: user.ID}}
	f.put(token, v1.ActionCreated)
	f.callers[secret] = Caller{User: user, Token: token}
}

// put stores an object under a new version. The caller holds the lock, or nobody else knows the fake yet.
func (f *fake) put(object v1.Object, action v1.Action) {
	f.version++
	meta := object.ObjectMeta()
	meta.Version, meta.UpdatedAt = f.version, time.Unix(1_700_000_000, 0).UTC()
	f.objects[object.ObjectKind()][meta.ID] = object
	f.record(object, action)
}

func (f *fake) record(object v1.Object, action v1.Action) {
	f.events = append(f.events, v1.Event{ID: fmt.Sprintf("%d-0", f.version), Index: f.version, Action: action, Object: v1.LinkTo(object), Project: object.ObjectMeta().Project})
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fake) enter(method string) error {
	f.asked = append(f.asked, method)
	if f.fail != nil {
		return f.fail(method)
	}
	return nil
}

func (f *fake) calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

func (f *fake) find(ref Ref) (v1.Object, error) {
	for _, object := range f.objects[ref.Kind] {
		meta := object.ObjectMeta()
		if meta.ID == ref.ID || meta.Name == ref.ID {
			return object, nil
		}
	}
	return nil, v1.NewProblem(v1.CodeNotFound, "There is no %s %q.", ref.Kind, ref.ID)
}

// look enters and finds, for methods that go on without the lock.
func (f *fake) look(method string, ref Ref) (v1.Object, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter(method); err != nil {
		return nil, err
	}
	return f.find(ref)
}

func (f *fake) Authenticate(_ context.Context, secret string) (Caller, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if caller, ok := f.callers[secret]; ok {
		return caller, nil
	}
	return Caller{}, v1.NewProblem(v1.CodeUnauthenticated, "The token is not valid.")
}

func (f *fake) Login(_ context.Context, request v1.LoginRequest) (v1.LoginResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter("Login"); err != nil {
		return v1.LoginResponse{}, err
	}
	if request.User == "member" && request.Password == "correct horse battery" {
		return v1.LoginResponse{Secret: memberSecret, User: v1.LinkTo(f.callers[memberSecret].User)}, nil
	}
	return v1.LoginResponse{}, v1.NewProblem(v1.CodeUnauthenticated, "The name or the password is wrong.")
}

func (f *fake) Logout(_ context.Context, caller Caller) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter("Logout"); err != nil {
		return err
	}
	maps.DeleteFunc(f.callers, func(_ string, known Caller) bool { return known.Token.ID == caller.Token.ID })
	return nil
}

func (f *fake) WhoAmI(_ context.Context, caller Caller) (v1.Identity, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return v1.Identity{User: v1.LinkTo(caller.User), PlatformRole: caller.User.Spec.PlatformRole, Projects: []v1.Access{}, Token: v1.LinkTo(caller.Token)}, f.enter("WhoAmI")
}

func (f *fake) SetPassword(context.Context, Caller, string, v1.PasswordRequest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.enter("SetPassword")
}

func (f *fake) CreateToken(_ context.Context, _ Caller, draft Draft) (v1.NewToken, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter("CreateToken"); err != nil {
		return v1.NewToken{}, err
	}
	token := &v1.Token{Meta: v1.Meta{ID: f.id(), Name: draft.Name}, Spec: *draft.Spec.(*v1.TokenSpec), Hash: strings.Repeat("b", 64)}
	f.put(token, v1.ActionCreated)
	return v1.NewToken{Token: *token, Secret: "made-secret"}, nil
}

func (f *fake) List(_ context.Context, _ Caller, query Query) (Page, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter("List"); err != nil {
		return Page{}, err
	}
	var ids []string
	for id, object := range f.objects[query.Kind] {
		meta := object.ObjectMeta()
		matches := (query.Name == "" || meta.Name == query.Name) && id > query.Cursor
		for key, value := range query.Labels {
			matches = matches && meta.Labels[key] == value
		}
		if matches {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	page := Page{Index: f.version}
	for i, id := range ids {
		if i == query.Limit {
			page.Next = ids[i-1]
			break
		}
		page.Items = append(page.Items, f.objects[query.Kind][id])
	}
	return page, nil
}

func (f *fake) Get(_ context.Context, _ Caller, ref Ref) (v1.Object, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter("Get"); err != nil {
		return nil, err
	}
	return f.find(ref)
}

// made makes an object of a draft.
func made(kind v1.Kind, draft Draft) v1.Object {
	definition, err := v1.Define(kind)
	if err != nil {
		panic(err)
	}
	object := definition.New()
	meta := object.ObjectMeta()
	meta.Name, meta.Labels = draft.Name, draft.Labels
	if definition.Scoped {
		meta.Project = projectID
	}
	switch object := object.(type) {
	case *v1.User:
		object.Spec = *draft.Spec.(*v1.UserSpec)
	case *v1.Project:
		object.Spec = *draft.Spec.(*v1.ProjectSpec)
	case *v1.Flavor:
		object.Spec = *draft.Spec.(*v1.FlavorSpec)
	case *v1.Host:
		object.Spec = *draft.Spec.(*v1.HostSpec)
	case *v1.Image:
		object.Spec = *draft.Spec.(*v1.ImageSpec)
	case *v1.PlacementGroup:
		object.Spec = *draft.Spec.(*v1.PlacementGroupSpec)
	case *v1.VM:
		object.Spec = *draft.Spec.(*v1.VMSpec)
	case *v1.Volume:
		object.Spec = *draft.Spec.(*v1.VolumeSpec)
	case *v1.Snapshot:
		object.Spec = *draft.Spec.(*v1.SnapshotSpec)
	default:
		panic(fmt.Sprintf("no draft makes a %s", kind))
	}
	return object
}

// slow are the kinds whose changes need an operation.
func slow(kind v1.Kind) bool {
	return kind == v1.KindVM || kind == v1.KindVolume || kind == v1.KindSnapshot
}

func (f *fake) operation(object v1.Object) string {
	operation := &v1.Operation{Meta: v1.Meta{ID: f.id()}, Spec: v1.OperationSpec{Target: v1.LinkTo(object)}, Status: v1.OperationStatus{State: v1.OperationRunning, Steps: []v1.StepStatus{}}}
	f.put(operation, v1.ActionCreated)
	return operation.ID
}

func (f *fake) Create(_ context.Context, caller Caller, kind v1.Kind, draft Draft, key Key) (Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter("Create"); err != nil {
		return Result{}, err
	}
	slot := caller.User.ID + "/" + key.Key
	if key.Key != "" {
		if request, used := f.keys[slot]; used {
			if request != key.Request {
				return Result{}, v1.NewProblem(v1.CodeKeyReused, "The Idempotency-Key was sent with another request.")
			}
			result := f.receipts[slot]
			result.Replayed = true
			return result, nil
		}
	}
	object := made(kind, draft)
	object.ObjectMeta().ID = f.id()
	if err := object.Validate(); err != nil {
		return Result{}, err
	}
	f.put(object, v1.ActionCreated)
	result := Result{Object: object}
	if slow(kind) {
		result.Operation = f.operation(object)
	}
	if key.Key != "" {
		f.keys[slot], f.receipts[slot] = key.Request, result
	}
	return result, nil
}

func (f *fake) Replace(_ context.Context, _ Caller, ref Ref, draft Draft, version uint64) (Result, error) {
	if f.beforeReplace != nil {
		f.beforeReplace()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter("Replace"); err != nil {
		return Result{}, err
	}
	object, err := f.find(ref)
	if err != nil {
		return Result{}, err
	}
	if version != 0 && version != object.ObjectMeta().Version {
		return Result{}, v1.NewProblem(v1.CodeNotMatched, "The object has changed.")
	}
	replaced := made(ref.Kind, draft)
	meta := replaced.ObjectMeta()
	meta.ID, meta.Project = object.ObjectMeta().ID, object.ObjectMeta().Project
	if err := replaced.Validate(); err != nil {
		return Result{}, err
	}
	f.put(replaced, v1.ActionUpdated)
	return Result{Object: replaced}, nil
}

func (f *fake) Delete(_ context.Context, _ Caller, ref Ref, version uint64) (Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter("Delete"); err != nil {
		return Result{}, err
	}
	object, err := f.find(ref)
	if err != nil {
		return Result{}, err
	}
	if version != 0 && version != object.ObjectMeta().Version {
		return Result{}, v1.NewProblem(v1.CodeNotMatched, "The object has changed.")
	}
	if slow(ref.Kind) {
		return Result{Object: object, Operation: f.operation(object)}, nil
	}
	delete(f.objects[ref.Kind], object.ObjectMeta().ID)
	f.version++
	f.record(object, v1.ActionDeleted)
	return Result{}, nil
}

func (f *fake) Act(_ context.Context, _ Caller, ref Ref, action string, args any, _ Key) (Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter(fmt.Sprintf("Act %s %+v", action, args)); err != nil {
		return Result{}, err
	}
	object, err := f.find(ref)
	if err != nil {
		return Result{}, err
	}
	return Result{Object: object, Operation: f.operation(object)}, nil
}

func (f *fake) Explain(_ context.Context, _ Caller, draft Draft) (v1.Placement, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return v1.Placement{Placed: true, Considered: 3, Filters: []v1.FilterResult{}}, f.enter("Explain")
}

func (f *fake) Upload(_ context.Context, _ Caller, ref Ref, size int64, data io.Reader) (Result, error) {
	object, err := f.look("Upload", ref)
	if err != nil {
		return Result{}, err
	}
	if f.uploaded != nil {
		if err := f.uploaded(size, data); err != nil {
			return Result{}, fmt.Errorf("keep the upload: %w", err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return Result{Object: object, Operation: f.operation(object)}, nil
}

func (f *fake) WaitOperation(ctx context.Context, _ Caller, ref Ref) (*v1.Operation, error) {
	for {
		f.mu.Lock()
		object, err := f.find(ref)
		changed := f.changed
		f.mu.Unlock()
		if err != nil {
			return nil, err
		}
		operation := object.(*v1.Operation)
		if operation.Status.State.Finished() {
			return operation, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return operation, nil
		}
	}
}

func (f *fake) Events(ctx context.Context, _ Caller, after, _ string, limit int) ([]v1.Event, string, error) {
	if err := func() error { f.mu.Lock(); defer f.mu.Unlock(); return f.enter("Events " + after) }(); err != nil {
		return nil, "", err
	}
	for {
		f.mu.Lock()
		changed := f.changed
		if after == "" {
			after = fmt.Sprintf("%d-0", f.version)
		}
		var index uint64
		_, _ = fmt.Sscanf(after, "%d", &index)
		var found []v1.Event
		for _, event := range f.events {
			if event.Index > index && len(found) < limit {
				found = append(found, event)
			}
		}
		f.mu.Unlock()
		if len(found) > 0 {
			return found, found[len(found)-1].ID, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, after, nil
		}
	}
}

func (f *fake) Log(ctx context.Context, _ Caller, ref Ref, tail int, follow bool) (io.ReadCloser, error) {
	if _, err := f.look("Log", ref); err != nil {
		return nil, err
	}
	if f.openLog != nil {
		return f.openLog(ctx, tail, follow)
	}
	return io.NopCloser(strings.NewReader("Linux version 6.1\n")), nil
}

func (f *fake) Console(_ context.Context, _ Caller, ref Ref) (io.ReadWriteCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enter("Console"); err != nil {
		return nil, err
	}
	if _, err := f.find(ref); err != nil {
		return nil, err
	}
	return f.openConsole()
}

func (f *fake) ClusterStatus(context.Context, Caller) (v1.ClusterStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return v1.ClusterStatus{ID: "c", Healthy: true, Members: []v1.MemberStatus{}, Hosts: []v1.HostSummary{}, Counts: map[v1.Kind]int{v1.KindVM: 1}}, f.enter("ClusterStatus")
}

func (f *fake) Consistent(ctx context.Context) error {
	f.caughtUp.Add(1)
	if wait := f.consistent.Load(); wait != nil {
		return (*wait)(ctx)
	}
	return nil
}

func (f *fake) IsLeader() bool { return f.leader.Load() }

func (f *fake) Forward(w http.ResponseWriter, r *http.Request) {
	if handler := f.forwarded.Load(); handler != nil {
		(*handler)(w, r)
		return
	}
	WriteProblem(w, v1.NewProblem(v1.CodeUnavailable, "There is no leader."))
}

func (f *fake) Ready(context.Context) error {
	if err := f.ready.Load(); err != nil {
		return *err
	}
	return nil
}
