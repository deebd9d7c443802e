package app

import v1 "github.com/coloa-cloud/coloa/api/v1"

func createFlavor(r *request) (v1.Object, string, error) {
	flavor := &v1.Flavor{Meta: r.meta, Spec: specOf[v1.FlavorSpec](r.draft)}
	if err := r.mayCreate(flavor); err != nil {
		return nil, "", err
	}
	r.txn.Create(flavor, "")
	return flavor, "", nil
}

func replaceFlavor(r *request, old v1.Object) (string, error) {
	flavor := old.(*v1.Flavor).Clone()
	spec := specOf[v1.FlavorSpec](r.draft)
	var f frozen
	f.check("spec.vcpus", spec.VCPUs == flavor.Spec.VCPUs)
	f.check("spec.memoryMiB", spec.MemoryMiB == flavor.Spec.MemoryMiB)
	f.check("spec.diskGiB", spec.DiskGiB == flavor.Spec.DiskGiB)
	if err := f.err(); err != nil {
		return "", err
	}
	applyMeta(&flavor.Meta, r.draft)
	r.txn.Update(flavor, "")
	return "", flavor.Validate()
}
