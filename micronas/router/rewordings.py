"""Remove marks of chat templates, leave out sentences around a prompt, and reword prompts.

Prompts of a benchmark share one form, which reveals their category better than their content. A
classifier that is also fitted on other forms of them relies on the content.
"""

import random
import re
import string
from collections.abc import Sequence

_MARKS = re.compile(
    r"<\|[^|<>]{1,40}\|>(?:[ \t]*(?:user|assistant|system)\b)?"
    r"|<(?:start|end)_of_turn>(?:user|model)?|</?s>|\[/?INST\]|<</?SYS>>"
    r"|^[ \t]*(?:user|human|assistant|ai)[ \t]*:|^[ \t]*```\w*[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE = re.compile(r"(?<=[.?!])\s+|\n+")
_PART = re.compile(r"\S.*?(?:(?<=[.?!:])(?=\s)|$)", re.MULTILINE)
_ENDS = 2
"""Number of sentences that a core may lack at each end."""
_BEFORE = (
    *2
    * (
        *("Hello, ", "Good morning! ", "Hey, I need some help. ", "Dear assistant, "),
        *("I would like to know this. ", "Can you look at this for me?\n\n", "Ok so "),
        *("My teacher gave us this:\n", "Please read carefully. ", "Quick one: "),
        "Question from a customer:\n",
    ),
    *("Bonjour, pouvez-vous répondre à ceci ?\n", "Hola, necesito ayuda con esto:\n"),
    *("Guten Tag, ich habe eine kurze Frage: ", "Ciao, mi puoi aiutare con questo?\n"),
    *("Kannst du mir das bitte erklären?\n\n", "Merci de répondre en français :\n"),
    *("Hallo zusammen, ich brauche einen Rat. ", "Wer weiß hier weiter?\n"),
    *("Ich komme allein nicht voran:\n", "Salut, j'ai besoin d'un conseil. "),
    *("Peux-tu m'expliquer cela ?\n", "Voici ma question :\n", "Buenas tardes, tengo una duda. "),
    *("¿Me lo puedes explicar?\n", "Quisiera saber lo siguiente:\n"),
    *("Buongiorno, avrei una domanda. ", "Come si fa?\n", "Olá, preciso de um conselho. "),
    *("Você sabe a resposta?\n", "Hallo, ik heb een vraagje. ", "Weet jij dit?\n"),
    *("",) * 12,
)
_AFTER = (
    *2
    * (
        *(" Thank you!", " Cheers.", " Please explain.", " I appreciate your help."),
        *(" What do you think?", " Let me know if anything is unclear.", "\nKeep it short."),
        *("\n\nTake your time and think it through.", "\n\nReply with one sentence only."),
        *(" Sorry for the trouble, have a nice day :)", " Hurry up!"),
        "\nExplain each step and then give the result.",
    ),
    *(" Merci beaucoup !", " ¡Muchas gracias!", " Danke.", " Grazie mille per l'aiuto!"),
    *("\nBitte kurz und knapp antworten, ich bin dir sehr dankbar.", " Responde en español."),
    *("\nHerzlichen Dank und schöne Grüße!", " Ich freue mich auf deine Antwort."),
    *("\nDas wäre toll.", "\nJe vous remercie d'avance, bonne journée !"),
    *(" C'est très gentil à toi.", "\nÀ bientôt.", "\nTe lo agradezco mucho, es muy importante."),
    *(" Espero tu respuesta.", "\nUn saludo.", " Ti ringrazio, sei molto gentile!", "\nA presto."),
    *("\nMuito obrigado pela ajuda!", " Fico à espera da resposta."),
    *("\nAlvast bedankt voor de hulp!", " Dat is heel aardig."),
    *("",) * 12,
)
_AROUND = (
    *("Q: {}\nA:", '"{}"', "### Question\n{}\n### Answer\n", "> {}", "---\n{}\n---", "(1) {}"),
    *("{}",) * 6,
)


def plain(prompt: str) -> str:
    """Return a prompt without marks of chat templates (special tokens, roles, fences).

    A prompt in capitals throughout becomes lower case.
    """
    text = _MARKS.sub("", prompt).strip()
    return text.lower() if text.isupper() else text


def cores(prompt: str) -> list[str]:
    """Return a prompt, and what is left without up to two sentences at either end.

    A greeting or thanks around a prompt, in whatever language, is missing from one of them.
    """
    spans = [each.span() for each in _PART.finditer(prompt) if any(map(str.isalnum, each[0]))]
    return [prompt] + [
        prompt[spans[head][0] : spans[-1 - tail][1]]
        for head in range(_ENDS + 1)
        for tail in range(_ENDS + 1)
        if 0 < head + tail < len(spans)
    ]


def reworded(prompts: Sequence[str], copies: int, *, seed: int = 0) -> list[list[str]]:
    """Return `copies` of prompts in other forms, drawn for each prompt with a seed.

    Forms change typing, capitals, spaces or order; then add sentences of seven languages, a frame.
    """
    return [
        [_reworded(prompt, random.Random(f"{seed} {copy} {prompt}")) for prompt in prompts]
        for copy in range(copies)
    ]


def _reworded(prompt: str, draw: random.Random) -> str:
    sentences = [each for each in _SENTENCE.split(prompt) if each.strip()]
    match draw.randrange(10):
        case 0 | 1:
            prompt = _mistyped(prompt, draw, draw.uniform(0.01, 0.05))
        case 2:
            prompt = prompt.lower()
        case 3:
            prompt = " ".join(prompt.split())
        case 4:
            draw.shuffle(sentences)
            prompt = " ".join(sentences)
    whole = draw.choice(_BEFORE) + prompt + draw.choice(_AFTER)
    return draw.choice(_AROUND).replace("{}", whole)


def _mistyped(text: str, draw: random.Random, share: float) -> str:
    """Return a text in which a share of the letters is left out, replaced or doubled."""
    ways = (lambda _: "", lambda _: draw.choice(string.ascii_lowercase), lambda each: 2 * each)
    return "".join(
        draw.choice(ways)(each) if each.isalpha() and draw.random() < share else each
        for each in text
    )
