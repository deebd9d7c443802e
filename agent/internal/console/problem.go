package console

import (
	"encoding/json"
	"net/http"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func refuse(w http.ResponseWriter, problem *v1.Problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(problem.Status)
	_ = json.NewEncoder(w).Encode(problem) // the peer is gone if this fails
}
