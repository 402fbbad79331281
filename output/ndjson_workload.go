package output

import "github.com/nettrace/nettrace/snapshot"

// Workloads knows what processes run in. It is for the rows of views; those of the stream
// come with it.
type Workloads interface {
	// Of returns nil where nothing is known.
	Of(*snapshot.Process) *snapshot.Workload
}

// The most bytes of the names of Kubernetes that have at most 63 (DNS labels), and of ids.
const (
	labelMax = 64
	idMax    = 64
)

// workload adds what a process runs in: nothing where that is not known. All of it may be
// long, so that it comes last in a line.
func (w *line) workload(l *snapshot.Workload) {
	if l == nil {
		return
	}
	w.str(`,"container_id":`, l.ContainerID, idMax)
	w.str(`,"container_name":`, l.ContainerName, textMax)
	w.str(`,"k8s_namespace":`, l.Namespace, labelMax)
	w.str(`,"k8s_pod":`, l.Pod, textMax)
	w.str(`,"k8s_container":`, l.PodContainer, labelMax)
	w.str(`,"k8s_pod_uid":`, l.PodUID, idMax)
	if w.ecs != nil && l.PodUID != "" {
		w.word(`,"orchestrator.type":`, "kubernetes")
		w.word(`,"orchestrator.resource.type":`, "pod")
	}
	w.str(`,"unit":`, l.Unit, textMax)
	w.str(`,"slice":`, l.Slice, textMax)
}
