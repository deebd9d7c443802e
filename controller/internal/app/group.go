package app

import v1 "github.com/coloa-cloud/coloa/api/v1"

func createGroup(r *request) (v1.Object, string, error) {
	group := &v1.PlacementGroup{Meta: r.meta, Spec: specOf[v1.PlacementGroupSpec](r.draft)}
	if err := r.mayCreate(group); err != nil {
		return nil, "", err
	}
	r.txn.Create(group, "")
	return group, "", nil
}

func replaceGroup(r *request, old v1.Object) (string, error) {
	group := old.(*v1.PlacementGroup).Clone()
	var f frozen
	f.check("spec.policy", specOf[v1.PlacementGroupSpec](r.draft) == group.Spec)
	if err := f.err(); err != nil {
		return "", err
	}
	applyMeta(&group.Meta, r.draft)
	r.txn.Update(group, "")
	return "", group.Validate()
}
