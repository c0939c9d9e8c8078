//! From template text to a tree that prints as Go does.
//!
//! In: the text of an annotation or label.   Out: a checked tree. Unknown functions and undefined
//! variables are refused here, as Go's parser does; field access and printing are rerouted to our
//! functions, because in Go a missing label is the empty string and floats have their own form.

use std::sync::Arc;

use gotmpl::TemplateError;
use gotmpl::parse::{ActionNode, BranchNode, CommandNode, Expr, ListNode, Node, Parser, PipeNode, Pos, SmolStr};

use super::functions::{FIELD, SHOW, is_known};

/// Sets the variables that Prometheus gives to every text.
const PREAMBLE: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                        {{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// The main tree and the named ones, checked and rerouted.
pub fn compile(name: &str, text: &str) -> Result<(ListNode, Vec<(String, ListNode)>), TemplateError> {
    let (mut tree, defines) = Parser::with_name(Some(name), text, "{{", "}}")?.parse()?;
    // The preamble is parsed apart, so that positions in errors are those of the text.
    let (mut whole, _) = Parser::new(PREAMBLE, "{{", "}}")?.parse()?;
    let mut walk = Walk::new(name, text);
    walk.list(&mut whole)?;
    walk.list(&mut tree)?;
    whole.nodes.append(&mut tree.nodes);
    let mut named = Vec::with_capacity(defines.len());
    for mut define in defines {
        Walk::new(name, text).list(&mut define.body)?;
        named.push((define.name.to_string(), define.body));
    }
    Ok((whole, named))
}

struct Walk<'a> {
    name: &'a str,
    text: &'a str,
    /// Variables in scope, innermost last.
    variables: Vec<SmolStr>,
}

impl<'a> Walk<'a> {
    fn new(name: &'a str, text: &'a str) -> Self {
        Self { name, text, variables: vec![SmolStr::new_static("$")] }
    }

    fn list(&mut self, list: &mut ListNode) -> Result<(), TemplateError> {
        list.nodes.iter_mut().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &mut Node) -> Result<(), TemplateError> {
        match node {
            Node::List(list) => self.list(list),
            Node::Action(action) => self.action(action),
            Node::If(branch) | Node::With(branch) | Node::Range(branch) => self.branch(branch),
            Node::Template(call) => call.pipe.as_mut().map_or(Ok(()), |pipe| self.pipe(pipe)),
            Node::Define(define) => {
                let outer = std::mem::replace(&mut self.variables, vec![SmolStr::new_static("$")]);
                let result = self.list(&mut define.body);
                self.variables = outer;
                result
            }
            Node::Text(_) | Node::Break(_) | Node::Continue(_) => Ok(()),
        }
    }

    fn action(&mut self, action: &mut ActionNode) -> Result<(), TemplateError> {
        self.pipe(&mut action.pipe)?;
        if action.pipe.decl.is_empty() {
            let pos = action.pos;
            action.pipe.commands.push(CommandNode { pos, args: vec![Expr::Identifier(pos, SHOW.into())] });
        }
        Ok(())
    }

    fn branch(&mut self, branch: &mut BranchNode) -> Result<(), TemplateError> {
        let depth = self.variables.len();
        self.pipe(&mut branch.pipe)?;
        let inner = self.variables.len();
        self.list(&mut branch.body)?;
        self.variables.truncate(inner);
        if let Some(other) = &mut branch.else_body {
            self.list(other)?;
        }
        self.variables.truncate(depth);
        Ok(())
    }

    fn pipe(&mut self, pipe: &mut PipeNode) -> Result<(), TemplateError> {
        for command in &mut pipe.commands {
            command.args.iter_mut().try_for_each(|arg| self.expr(arg))?;
        }
        for variable in &pipe.decl {
            match pipe.is_assign {
                true => self.require_variable(variable, pipe.pos)?,
                false => self.variables.push(variable.clone()),
            }
        }
        Ok(())
    }

    fn expr(&mut self, expr: &mut Expr) -> Result<(), TemplateError> {
        let pos = expr.pos();
        let (base, fields) = match expr {
            Expr::Identifier(_, name) if !is_known(name) => {
                return Err(self.error(pos, format!("function {:?} not defined", name.as_str())));
            }
            Expr::Pipe(_, pipe) => return self.pipe(pipe),
            Expr::Variable(_, name, fields) => {
                self.require_variable(name, pos)?;
                (Expr::Variable(pos, name.clone(), Vec::new()), std::mem::take(fields))
            }
            Expr::Field(_, fields) => (Expr::Dot(pos), std::mem::take(fields)),
            Expr::Chain(_, inner, fields) => {
                self.expr(inner)?;
                ((**inner).clone(), std::mem::take(fields))
            }
            _ => return Ok(()),
        };
        if !fields.is_empty() {
            let names = fields.iter().map(|f| Expr::String(pos, Arc::from(f.as_str())));
            let args = [Expr::Identifier(pos, FIELD.into()), base].into_iter().chain(names).collect();
            let commands = vec![CommandNode { pos, args }];
            *expr = Expr::Pipe(pos, PipeNode { pos, decl: Vec::new(), commands, is_assign: false });
        }
        Ok(())
    }

    fn require_variable(&self, name: &SmolStr, pos: Pos) -> Result<(), TemplateError> {
        match self.variables.contains(name) {
            true => Ok(()),
            false => Err(self.error(pos, format!("undefined variable {:?}", name.as_str()))),
        }
    }

    fn error(&self, pos: Pos, message: String) -> TemplateError {
        let before = &self.text[..pos.offset.min(self.text.len())];
        let col = before.rfind('\n').map_or(before.len(), |at| before.len() - at - 1) + 1;
        TemplateError::Parse { name: Some(self.name.to_owned()), line: pos.line, col, message }
    }
}
