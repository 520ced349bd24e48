package deploy

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
)

// The node's binary, which `cargo xtask test` has built.
func binary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("FANFOLD_BIN")
	if path == "" {
		path = filepath.Join(root, "target/debug/fanfold")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("build the node first: %v", err)
	}
	return path
}

func fanfold(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	output, err := exec.CommandContext(ctx, binary(t), args...).CombinedOutput()
	return string(output), err
}

// A file of a kind that its name tells.
func secret(t *testing.T, name string) []byte {
	t.Helper()
	if name != "jwt.pem" {
		return []byte(strings.Repeat("0123456789abcdef", 4))
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// Makes what a container finds below /etc/fanfold, and says where.
func mounted(t *testing.T, pod core.PodSpec, configs map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	write := func(path string, content []byte) {
		path = filepath.Join(folder, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	volumes := map[string]core.Volume{}
	for _, volume := range pod.Volumes {
		volumes[volume.Name] = volume
	}
	for _, mount := range pod.Containers[0].VolumeMounts {
		path, inside := strings.CutPrefix(mount.MountPath, "/etc/fanfold/")
		volume, known := volumes[mount.Name]
		if !inside || !known {
			t.Fatalf("%s at %s", mount.Name, mount.MountPath)
		}
		switch {
		case volume.ConfigMap != nil:
			text, ok := configs[volume.ConfigMap.Name]
			if !ok || mount.SubPath != filepath.Base(path) {
				t.Fatalf("no configuration %s", volume.ConfigMap.Name)
			}
			write(path, []byte(strings.ReplaceAll(text, "/etc/fanfold/", folder+"/")))
		case volume.Secret != nil:
			for _, item := range volume.Secret.Items {
				write(filepath.Join(path, item.Path), secret(t, item.Path))
			}
		default:
			t.Fatalf("nobody checks the volume %s", volume.Name)
		}
	}
	return folder
}

// Every key is one of the node's, every file that it names is mounted, and every argument is one of the command line.
func TestTheNodeTakesItsConfigurationAndArguments(t *testing.T) {
	file := regexp.MustCompile(`"(/[^"]+)"`)
	sets(t, func(t *testing.T, found rendered) {
		for name, pod := range found.pods() {
			folder := mounted(t, pod.Spec, found.configs)
			config := filepath.Join(folder, "fanfold.toml")
			if said, err := fanfold(t, "serve", "--check", "--config", config); err != nil {
				t.Errorf("%s: %s", name, said)
			}
			text, err := os.ReadFile(config)
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range file.FindAllStringSubmatch(string(text), -1) {
				if _, err := os.Stat(path[1]); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			// Help is given only where everything before it is understood.
			args := append(append([]string{}, pod.Spec.Containers[0].Args...), "--help")
			if said, err := fanfold(t, args...); err != nil || !strings.Contains(said, "Usage: fanfold "+args[0]) {
				t.Errorf("%s: %v: %s", name, args, said)
			}
			for _, variable := range pod.Spec.Containers[0].Env {
				if path, ok := strings.CutPrefix(variable.Value, "/etc/fanfold/"); ok {
					if _, err := os.Stat(filepath.Join(folder, path)); err != nil {
						t.Errorf("%s: %s: %v", name, variable.Name, err)
					}
				}
			}
		}
	})
}

// The paths of probes and metrics, asked of a node that runs, and of the same while it drains.
func TestANodeAnswersItsProbesAndDrains(t *testing.T) {
	found := load(t, "testdata/values/full.yaml")
	container := found.deployments["chat-fanfold"].Spec.Template.Spec.Containers[0]
	node := exec.Command(binary(t), "dev", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data", t.TempDir())
	node.Env = append(os.Environ(), "FANFOLD_LOG=warn", "FANFOLD_NODE__DRAIN_MS_MAX=5000")
	output, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = node.Process.Kill() }()
	lines := bufio.NewScanner(output)
	lines.Scan()
	address := strings.Fields(lines.Text())[1]
	get := func(path string) (int, http.Header) {
		response, err := http.Get(address + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response.StatusCode, response.Header
	}
	for _, probe := range []*core.Probe{container.StartupProbe, container.LivenessProbe, container.ReadinessProbe} {
		if status, _ := get(probe.HTTPGet.Path); status != 200 {
			t.Errorf("%s: %d", probe.HTTPGet.Path, status)
		}
	}
	if status, headers := get("/metrics"); status != 200 || !strings.HasPrefix(headers.Get("Content-Type"), "text/plain") {
		t.Errorf("/metrics: %d %v", status, headers)
	}
	// What the autoscaler counts.
	connections := func(wanted string) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			response, err := http.Get(address + "/metrics")
			if err != nil {
				t.Fatal(err)
			}
			page, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err == nil && strings.Contains(string(page), "\nfanfold_connections "+wanted+"\n") {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("not %s connections", wanted)
			}
		}
	}
	connections("0")
	opened, err := http.Post(address+"/v1/sessions", "application/json", strings.NewReader(`{"session":"s"}`))
	if err != nil || opened.StatusCode != 201 {
		t.Fatalf("%v %v", opened, err)
	}
	_ = opened.Body.Close()
	stream, err := http.Get(address + "/v1/sessions/s/stream")
	if err != nil || stream.StatusCode != 200 {
		t.Fatalf("%v %v", stream, err)
	}
	connections("1")
	_ = stream.Body.Close()
	connections("0")
	if err := node.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// From the moment on which it says no, or can't be asked any more, it never says yes again; then it ends by itself.
	ended := make(chan error, 1)
	go func() { ended <- node.Wait() }()
	deadline, off := time.After(20*time.Second), false
	for {
		select {
		case err := <-ended:
			if err != nil || !off {
				t.Errorf("it ended with %v, readiness off: %v", err, off)
			}
			return
		case <-deadline:
			t.Fatal("it doesn't end")
		default:
		}
		response, err := http.Get(address + container.ReadinessProbe.HTTPGet.Path)
		ready := err == nil && response.StatusCode == 200
		if err == nil {
			_ = response.Body.Close()
		}
		if ready && off {
			t.Error("ready again")
		}
		off = off || !ready
		time.Sleep(5 * time.Millisecond)
	}
}
