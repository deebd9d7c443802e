package ctl

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// escape is what a hostile server or user would like to reach the terminal.
const escape = "\x1b]0;owned\x07\x1b[31mred\u009b2J\u202egnp"

const (
	idOne   = "01890a5d-ac96-774b-bcce-b302099a8057"
	idTwo   = "01890a5d-ac96-774b-bcce-b302099a8058"
	idThree = "01890a5d-ac96-774b-bcce-b302099a8059"
)

// startHostile serves answers that a good cloud never gives, or gives seldom: escape sequences everywhere, operations that fail, get stuck or never end.
func startHostile(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(answerHostile))
	t.Cleanup(server.Close)
	return server.URL
}

func answerHostile(w http.ResponseWriter, r *http.Request) {
	put := func(status int, operation string, object any) {
		w.Header().Set("Content-Type", "application/json")
		if operation != "" {
			w.Header().Set("Coloa-Operation", operation)
		}
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(object)
	}
	refuse := func(problem *v1.Problem) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(problem.Status)
		_ = json.NewEncoder(w).Encode(problem)
	}
	vm := v1.VM{Meta: v1.Meta{ID: idOne, Name: "web" + escape, Labels: map[string]string{"note": escape}}, Status: v1.VMStatus{Phase: v1.VMPhase(escape), Message: escape}}
	operation := v1.Operation{Meta: v1.Meta{ID: idOne}, Spec: v1.OperationSpec{Type: v1.OpVMStop, Target: v1.Link{Kind: v1.KindVM, ID: idOne, Name: "web"}}}
	operation.Status = v1.OperationStatus{State: v1.OperationRunning, Steps: []v1.StepStatus{{Name: "shutdown", State: v1.StepStarted}}}
	switch path := strings.TrimPrefix(r.URL.Path, "/v1"); path {
	case "/vms":
		put(200, "", map[string]any{"items": []v1.VM{vm}})
	case "/vms/web", "/vms/" + idOne:
		put(200, "", vm)
	case "/vms/refused":
		refuse(v1.NewProblem(v1.CodeDenied, "%s", "no "+escape).WithNext("%s", "ask "+escape))
	case "/vms/fails/stop":
		put(202, idTwo, vm)
	case "/vms/stuck/stop":
		put(202, idThree, vm)
	case "/vms/slow/stop":
		put(202, idOne, vm)
	case "/operations/" + idOne: // never ends
		time.Sleep(50 * time.Millisecond)
		put(200, "", operation)
	case "/operations/" + idTwo:
		operation.ID, operation.Status.State, operation.Status.Error = idTwo, v1.OperationFailed, v1.NewProblem(v1.CodeQuota, "the quota ran out").WithNext("Free something.")
		put(200, "", operation)
	case "/operations/" + idThree:
		operation.ID, operation.Status.State = idThree, v1.OperationNeedsAttention
		put(200, "", operation)
	case "/vms/web/log":
		fmt.Fprint(w, "one\n"+escape+"two\n")
	case "/vms/web/console":
		answerConsole(w, r)
	case "/cluster":
		put(200, "", v1.ClusterStatus{Name: "sick", Version: "1", Problems: []string{"there is no host", escape}, Members: []v1.MemberStatus{{ID: "c1", Address: "10.0.0.1:8445", Leader: true, Voter: true}}})
	default:
		refuse(v1.NewProblem(v1.CodeNotFound, "there is nothing at %s", path))
	}
}

// answerConsole speaks first, repeats one message, and says goodbye.
func answerConsole(w http.ResponseWriter, r *http.Request) {
	socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{client.ConsoleProtocol}})
	if err != nil {
		return
	}
	conn := websocket.NetConn(r.Context(), socket, websocket.MessageBinary)
	defer conn.Close()
	fmt.Fprint(conn, "login: ")
	typed := make([]byte, 100)
	for {
		n, err := conn.Read(typed)
		if err != nil {
			return
		}
		fmt.Fprintf(conn, "got %q\r\n", typed[:n])
		if strings.Contains(string(typed[:n]), "bye") {
			return
		}
	}
}
