"""What the server answers if it cannot do what was asked: a status of HTTP and a sentence."""


class Refusal(Exception):
    """status: of HTTP, 400 to 599.  sentence: for people, with the value, the rule and the remedy."""

    def __init__(self, status, sentence):
        super().__init__(sentence)
        self.status, self.sentence = status, sentence
