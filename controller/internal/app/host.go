package app

import v1 "github.com/coloa-cloud/coloa/api/v1"

func replaceHost(r *request, old v1.Object) (string, error) {
	host := old.(*v1.Host).Clone()
	applyMeta(&host.Meta, r.draft)
	host.Spec = specOf[v1.HostSpec](r.draft)
	if err := host.Validate(); err != nil {
		return "", err
	}
	r.txn.Update(host, "")
	return "", nil
}

// removeHost forgets a host that is silent and has nothing left on it.
func removeHost(r *request, old v1.Object) (string, error) {
	host := old.(*v1.Host)
	if host.Status.Phase != v1.HostSilent {
		return "", v1.NewProblem(v1.CodeWrongState, "the host %q answers; only a host that is gone for good can be forgotten", host.Name).
			WithNext("Stop its agent first, and wait until it counts as silent.")
	}
	r.txn.Delete(host, "forgotten")
	return "", nil
}
