package container

import "strings"

// docker knows the names of Docker's containers: Name in the state of each
// (container.Container, daemon/container/container.go, moby), with a / before it.
type docker struct {
	root  string // of the host
	names kept[string]
}

func newDocker(root string) docker { return docker{root, kept[string]{}} }

// name returns the name of a container. home is the directory of the user whose it is;
// empty: it is the system's.
func (d *docker) name(id, home string) string {
	path := d.root + "/var/lib/docker/containers/" + id + "/config.v2.json"
	if home != "" {
		path = d.root + home + "/.local/share/docker/containers/" + id + "/config.v2.json"
	}
	name, _ := d.names.get(path, func() (string, error) {
		state, err := readState(path)
		return strings.TrimPrefix(text(member(state, "Name")), "/"), err
	})
	return name
}

// podman knows the names of the containers of Podman and CRI-O: names in the lists that
// containers/storage keeps (Container, containers.go), of which the second has those that
// are removed when they end (--rm).
type podman struct {
	root  string // of the host
	names kept[map[string]string]
}

func newPodman(root string) podman { return podman{root, kept[map[string]string]{}} }

// The places of storage, by the driver of its layers (drivers/driver_linux.go).
var (
	storageDrivers = []string{"overlay", "vfs", "btrfs", "zfs"}
	storageLists   = []string{"containers.json", "volatile-containers.json"}
)

// name returns the name of a container, as docker.name does.
func (p *podman) name(id, home string) string {
	storage := p.root + "/var/lib/containers/storage/"
	if home != "" {
		storage = p.root + home + "/.local/share/containers/storage/"
	}
	for _, driver := range storageDrivers {
		for _, list := range storageLists {
			if name := p.list(storage + driver + "-containers/" + list)[id]; name != "" {
				return name
			}
		}
	}
	return ""
}

// list reads the first name of each container in a list, by id.
func (p *podman) list(path string) map[string]string {
	names, _ := p.names.get(path, func() (map[string]string, error) {
		state, err := readState(path)
		made := map[string]string{}
		items(state, func(one []byte) {
			first := ""
			items(member(one, "names"), func(name []byte) {
				if first == "" {
					first = text(name)
				}
			})
			if id := text(member(one, "id")); id != "" && first != "" {
				made[id] = first
			}
		})
		return made, err
	})
	return names
}

// homes knows the directories of users.
type homes struct {
	passwd string
	known  kept[map[string]string]
}

func newHomes(root string) homes { return homes{root + "/etc/passwd", kept[map[string]string]{}} }

// of returns the directory of a user by number.
func (h *homes) of(user string) string {
	all, _ := h.known.get(h.passwd, func() (map[string]string, error) {
		file, err := readState(h.passwd)
		made := map[string]string{}
		for line := range strings.Lines(string(file)) {
			columns := strings.Split(line, ":")
			if len(columns) < 7 || !strings.HasPrefix(columns[5], "/") || made[columns[2]] != "" {
				continue
			}
			made[columns[2]] = strings.TrimSuffix(columns[5], "/")
		}
		return made, err
	})
	return all[user]
}
