package ctl

import (
	"github.com/spf13/cobra"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func (a *app) attachments() *cobra.Command {
	n := noun[v1.Attachment, *v1.Attachment]{app: a, key: "attachment", filters: []filter{{"volume", v1.KindVolume}, {"vm", v1.KindVM}}, columns: []column[v1.Attachment]{
		refColumn("volume", always, v1.KindVolume, func(o *v1.Attachment) string { return o.Spec.Volume }),
		refColumn("vm", always, v1.KindVM, func(o *v1.Attachment) string { return o.Spec.VM }),
		refColumn("host", ifRoom, v1.KindHost, func(o *v1.Attachment) string { return o.Spec.Host }),
		yesNo("root", ifRoom, func(o *v1.Attachment) bool { return o.Spec.Root }),
		textColumn("instance", wideOnly, func(o *v1.Attachment) string { return o.Spec.Instance }),
	}}
	group := a.group("attachment", "attachment", "attachments")
	group.AddCommand(n.list(), n.show())
	return group
}
