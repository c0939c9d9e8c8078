//! From template text to a tree that prints as Go does.
//!
//! In: the text of an annotation or label.   Out: a checked tree. Unknown functions and undefined
//! variables are refused here, as Go's parser does; field access and printing are rerouted to our
//! functions, because in Go a missing label is the empty string and floats have their own form.

use std::sync::Arc;

use gotmpl::TemplateError;
use gotmpl::parse::{ActionNode, BranchNode, CommandNode, Expr, ListNode, Node, Parser, PipeNode, Pos, SmolStr};

use super::functions::{BARE, FIELD, METHOD, SHOW, is_known};

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
        for (i, command) in pipe.commands.iter_mut().enumerate() {
            let method = if command.args.len() > 1 || i > 0 { take_method(&mut command.args[0]) } else { None };
            command.args.iter_mut().try_for_each(|arg| self.expr(arg))?;
            if let Some(name) = method {
                let pos = command.pos;
                let call = [Expr::Identifier(pos, METHOD.into()), command.args.remove(0), Expr::String(pos, name)];
                command.args.splice(0..0, call);
            } else if is_comparison(&command.args[0]) {
                command.args.iter_mut().skip(1).filter(|arg| may_be_moment(arg)).for_each(bare);
            }
        }
        // What is piped into a comparison is its last operand.
        for i in
            (1..pipe.commands.len()).rev().filter(|i| is_comparison(&pipe.commands[*i].args[0])).collect::<Vec<_>>()
        {
            let pos = pipe.commands[i].pos;
            pipe.commands.insert(i, CommandNode { pos, args: vec![Expr::Identifier(pos, BARE.into())] });
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

/// The last field of what is given arguments, which makes it a method; the expression keeps the rest.
fn take_method(expr: &mut Expr) -> Option<Arc<str>> {
    let fields = match expr {
        Expr::Variable(_, _, fields) | Expr::Field(_, fields) | Expr::Chain(_, _, fields) => fields,
        _ => return None,
    };
    let name = fields.pop()?;
    let is_bare = fields.is_empty();
    match expr {
        Expr::Field(pos, _) if is_bare => *expr = Expr::Dot(*pos),
        Expr::Chain(_, inner, _) if is_bare => *expr = (**inner).clone(),
        _ => {}
    }
    Some(Arc::from(name.as_str()))
}

fn is_comparison(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_, name) if matches!(name.as_str(), "eq" | "ne" | "lt" | "le" | "gt" | "ge"))
}

fn may_be_moment(expr: &Expr) -> bool {
    matches!(expr, Expr::Pipe(..) | Expr::Variable(..) | Expr::Dot(_))
}

/// Puts what compares a month, a day of the week or a duration by its number around an operand.
fn bare(expr: &mut Expr) {
    let pos = expr.pos();
    let commands = vec![CommandNode { pos, args: vec![Expr::Identifier(pos, BARE.into()), expr.clone()] }];
    *expr = Expr::Pipe(pos, PipeNode { pos, decl: Vec::new(), commands, is_assign: false });
}
