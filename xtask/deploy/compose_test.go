package deploy

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"sigs.k8s.io/yaml"
)

// What a test needs and doesn't find is told at the end of the whole run; in CI it is there.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	if path := os.Getenv("FANFOLD_NOT_RUN"); path != "" {
		file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		fmt.Fprintln(file, what)
	}
	t.Skip(what)
}

func run(t *testing.T, folder string, program string, args ...string) {
	t.Helper()
	command := exec.Command(program, args...)
	command.Dir = folder
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, output)
	}
}

// A copy of deploy/ with the secrets that it needs.
func copied(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(root, "deploy"))); err != nil {
		t.Fatal(err)
	}
	run(t, folder, "sh", "secrets.sh")
	return folder
}

func project(t *testing.T, folder, file string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(folder, file)}, cli.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A number of a configuration that is written as `key = 123` or `key: 24GB`.
func number(t *testing.T, text, key string) int64 {
	t.Helper()
	found := regexp.MustCompile(key + `\s*[:=]\s*(\d+)(GB)?`).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no %s", key)
	}
	value, err := strconv.ParseInt(found[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if found[2] == "GB" {
		value <<= 30
	}
	return value
}

// Read by Compose's own library, whose schema refuses what it doesn't know; and each of our processes by our own parser.
func TestComposeFilesStartWhatTheyName(t *testing.T) {
	folder := copied(t)
	for file, wanted := range map[string]int{"compose.one.yaml": 1, "compose.cluster.yaml": 5} {
		t.Run(file, func(t *testing.T) {
			ours := 0
			for name, service := range project(t, folder, file).AllServices() {
				where := map[string]string{}
				for _, volume := range service.Volumes {
					if volume.Type != types.VolumeTypeBind {
						continue
					}
					if _, err := os.Stat(volume.Source); err != nil {
						if filepath.Base(volume.Source) == "nginx.conf" {
							continue // its own test says so
						}
						t.Errorf("%s: %v", name, err)
					}
					if !volume.ReadOnly {
						t.Errorf("%s can write %s", name, volume.Target)
					}
					where[volume.Target] = volume.Source
				}
				if service.Image != "fanfold" {
					continue
				}
				ours++
				if !service.ReadOnly || len(service.CapDrop) != 1 {
					t.Errorf("%s may too much", name)
				}
				text := read(t, where["/etc/fanfold/fanfold.toml"])
				args := []string{"serve", "--config", "/etc/fanfold/fanfold.toml"}
				if len(service.Command) > 0 {
					args = service.Command
				}
				environment := os.Environ()
				for key, value := range service.Environment {
					environment = append(environment, key+"="+*value)
				}
				checked(t, name, text, args, environment, where)
				if args[0] == "serve" {
					grace, drain := int64(*service.StopGracePeriod)/1_000_000, number(t, text, "drain_ms_max")
					if grace < drain+10_000 {
						t.Errorf("%s has %d ms to end, drains for %d", name, grace, drain)
					}
					if files := int64(service.Ulimits["nofile"].Single); files < number(t, text, "connections_max")+1024 {
						t.Errorf("%s has %d descriptors", name, files)
					}
				}
			}
			if ours != wanted {
				t.Errorf("%d services of ours, not %d", ours, wanted)
			}
		})
	}
}

// The node takes the configuration and the arguments, with each file where it is mounted.
func checked(t *testing.T, name, text string, args, environment []string, where map[string]string) {
	t.Helper()
	targets := make([]string, 0, len(where))
	for target := range where {
		targets = append(targets, target)
	}
	sort.Sort(sort.Reverse(sort.StringSlice(targets)))
	for _, target := range targets {
		text = strings.ReplaceAll(text, `"`+target+`"`, strconv.Quote(where[target]))
	}
	for _, path := range regexp.MustCompile(`/etc/fanfold/[^"\s]+`).FindAllString(strings.Join(append(append([]string{text}, args...), environment...), "\n"), -1) {
		// The migration is other users with other files.
		ofNodes := path == "/etc/fanfold/secrets/nats-node" || path == "/etc/fanfold/secrets/cql"
		if where[path] == "" && !(name == "migrate" && ofNodes) {
			t.Errorf("%s: %s is not mounted", name, path)
		}
	}
	config := filepath.Join(t.TempDir(), "fanfold.toml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	check := exec.Command(binary(t), "serve", "--check", "--config", config)
	check.Env = environment
	if output, err := check.CombinedOutput(); err != nil {
		t.Errorf("%s: %s", name, output)
	}
	if said, err := fanfold(t, append(append([]string{}, args...), "--help")...); err != nil {
		t.Errorf("%s: %v: %s", name, args, said)
	}
}

func TestNatsTakesItsConfiguration(t *testing.T) {
	server := os.Getenv("FANFOLD_NATS_SERVER")
	for _, candidate := range []string{filepath.Join(root, "target/tools/nats-server"), "nats-server"} {
		if server != "" {
			break
		}
		server, _ = exec.LookPath(candidate)
	}
	if server == "" {
		missing(t, "deploy/nats: there is no nats-server")
	}
	if path, err := filepath.Abs(server); err == nil {
		server = path
	}
	folder := copied(t)
	// As the containers have it.
	if err := os.Symlink("secrets", filepath.Join(folder, "nats-secrets")); err != nil {
		t.Fatal(err)
	}
	run(t, folder, server, "-t", "--config", "nats/nats.conf", "--name", "nats-1")
	nats, node := read(t, filepath.Join(folder, "nats/nats.conf")), read(t, filepath.Join(folder, "cluster/fanfold.toml"))
	if aside := number(t, node, "shards") * number(t, node, "shard_bytes_max"); number(t, nats, "max_file_store") < aside {
		t.Errorf("streams set %d bytes aside, the servers have fewer", aside)
	}
	if !strings.Contains(nats, "\n  sync_interval: always\n") || number(t, node, "replicas") != 3 {
		t.Error("what is acknowledged can be lost")
	}
}

func TestNginxTakesItsConfigurationAndKnowsEveryNode(t *testing.T) {
	folder := copied(t)
	path := filepath.Join(folder, "nginx.conf")
	if _, err := os.Stat(path); err != nil {
		missing(t, "deploy/nginx.conf isn't there")
	}
	text := read(t, path)
	nodes := map[string]bool{}
	for _, server := range regexp.MustCompile(`(?m)^\s*server (fanfold-\d+):`).FindAllStringSubmatch(text, -1) {
		nodes[server[1]] = true
	}
	for name, service := range project(t, folder, "compose.cluster.yaml").Services {
		if strings.HasPrefix(name, "fanfold-") != nodes[name] || nodes[name] && service.Image != "fanfold" {
			t.Errorf("%s: nginx knows %v", name, nodes)
		}
	}
	nginx := os.Getenv("FANFOLD_NGINX")
	if nginx == "" {
		nginx, _ = exec.LookPath("nginx")
	}
	if nginx == "" {
		missing(t, "deploy/nginx.conf: there is no nginx to read it")
	}
	// Names are those of containers.
	local := regexp.MustCompile(`fanfold-\d+:`).ReplaceAllString(text, "127.0.0.1:")
	if err := os.WriteFile(path, []byte(local), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, folder, nginx, "-t", "-q", "-c", path, "-p", folder, "-g", "pid "+filepath.Join(folder, "pid")+";")
}

// Names and metrics of the rules are those of the pages.
func TestAlertsAreThoseOfThePage(t *testing.T) {
	var rules struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []struct {
				Alert       string            `json:"alert"`
				Expr        string            `json:"expr"`
				For         string            `json:"for"`
				Labels      map[string]string `json:"labels"`
				Annotations map[string]string `json:"annotations"`
			} `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.UnmarshalStrict([]byte(read(t, filepath.Join(root, "deploy/alerts.yaml"))), &rules); err != nil {
		t.Fatal(err)
	}
	metrics, page := read(t, filepath.Join(root, "docs/metrics.md")), read(t, filepath.Join(root, "docs/operations.md"))
	known := regexp.MustCompile("(?m)^\\| `(fanfold_\\w+)")
	names := map[string]bool{}
	for _, row := range known.FindAllStringSubmatch(metrics, -1) {
		names[row[1]] = true
	}
	ruled := []string{}
	for _, rule := range rules.Groups[0].Rules {
		ruled = append(ruled, rule.Alert)
		used := regexp.MustCompile(`fanfold_\w+`).FindAllString(rule.Expr, -1)
		if rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" {
			t.Errorf("%s says too little", rule.Alert)
		}
		for _, metric := range used {
			if !names[metric] {
				t.Errorf("%s: docs/metrics.md knows no %s", rule.Alert, metric)
			}
		}
	}
	paged := []string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(Fanfold\\w+)` \\|").FindAllStringSubmatch(page, -1) {
		paged = append(paged, row[1])
	}
	if fmt.Sprint(ruled) != fmt.Sprint(paged) || len(ruled) < 10 {
		t.Errorf("the rules have %v\nthe page has %v", ruled, paged)
	}
	for _, metric := range regexp.MustCompile("`(fanfold_\\w+)").FindAllStringSubmatch(page, -1) {
		if !names[metric[1]] {
			t.Errorf("docs/operations.md names %s", metric[1])
		}
	}
}
