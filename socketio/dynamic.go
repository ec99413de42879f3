package socketio

import (
	"encoding/json"
	"regexp"
)

// dynamic is a family of namespaces.
type dynamic struct {
	admit  func(name string, auth json.RawMessage) bool
	parent *Namespace
}

// OfFunc has namespaces come into being when a client asks for them: those for whose names f
// returns true, asked with the auth object the client gave, nil if none. What is registered on the
// namespace returned (middleware, handlers) holds for all of them; emitting on it sends to all of
// them. A namespace made like this goes when its last client has gone. f may block. Namespaces made
// with [Server.Of] come first, then the families in the order they were made.
func (s *Server) OfFunc(f func(name string, auth json.RawMessage) bool) *Namespace {
	parent := newNamespace(s, "")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.families = append(s.families, dynamic{f, parent})
	return parent
}

// OfRegexp is OfFunc for the names that match re.
func (s *Server) OfRegexp(re *regexp.Regexp) *Namespace {
	return s.OfFunc(func(name string, _ json.RawMessage) bool { return re.MatchString(name) })
}

// maxNamespace bounds the names that clients can make namespaces of, in bytes.
const maxNamespace = 256

// resolve returns the namespace a client asks for, which may be made for it, or nil if there is
// none. Until joined is called the namespace stays.
func (s *Server) resolve(name string, auth json.RawMessage) *Namespace {
	s.mu.Lock()
	n, families := s.namespaces[name], s.families
	if n != nil {
		n.joining++
	}
	s.mu.Unlock()
	if n != nil || len(name) > maxNamespace {
		return n
	}
	for _, d := range families {
		if !d.admit(name, auth) {
			continue
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if n = s.namespaces[name]; n == nil {
			n = newNamespace(s, name)
			n.parent = d.parent
			s.namespaces[name] = n
			s.cluster.opened(name)
		}
		n.joining++
		return n
	}
	return nil
}

// joined ends what resolve began: from here on a child of a family is kept by its sockets alone.
func (n *Namespace) joined() {
	n.srv.mu.Lock()
	n.joining--
	n.srv.mu.Unlock()
	n.discardIfEmpty()
}

// discardIfEmpty removes a child of a family in which nobody is, nor is awaited back.
func (n *Namespace) discardIfEmpty() {
	if n.parent == nil {
		return
	}
	n.srv.mu.Lock()
	defer n.srv.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.joining > 0 || len(n.sockets) > 0 || len(n.log.byPID) > 0 || n.srv.namespaces[n.name] != n {
		return
	}
	delete(n.srv.namespaces, n.name)
	n.srv.cluster.shut(n.name)
	n.log.stop()
}

// children returns the namespaces of a family; for any other namespace, itself.
func (n *Namespace) children() []*Namespace {
	if n.name != "" {
		return []*Namespace{n}
	}
	n.srv.mu.RLock()
	defer n.srv.mu.RUnlock()
	var list []*Namespace
	for _, c := range n.srv.namespaces {
		if c.parent == n {
			list = append(list, c)
		}
	}
	return list
}
